package ipvsnl

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// headers is the length of a message's headers, in bytes: that of netlink and that of generic
// netlink (linux/netlink.h, linux/genetlink.h).
const headers = unix.NLMSG_HDRLEN + unix.GENL_HDRLEN

var native = binary.NativeEndian

// A Message is a netlink message with its header, as it was sent.
type Message []byte

// Next returns the first message of a datagram and what follows it. It returns nil where the
// kernel stops reading (af_netlink.c, netlink_rcv_skb).
func Next(datagram []byte) (m Message, rest []byte) {
	if len(datagram) < unix.NLMSG_HDRLEN {
		return nil, nil
	}
	size := int(native.Uint32(datagram))
	if size < unix.NLMSG_HDRLEN || size > len(datagram) {
		return nil, nil
	}
	return Message(datagram[:size]), datagram[min((size+3)&^3, len(datagram)):]
}

// Type returns the message's type: the number of a family, or of a control message.
func (m Message) Type() uint16 { return native.Uint16(m[4:]) }

// Asks reports whether the message is a request to a family. Others are confirmed at
// most.
func (m Message) Asks() bool {
	return m.flags()&unix.NLM_F_REQUEST != 0 && m.Type() >= unix.NLMSG_MIN_TYPE
}

// Ack returns the datagram by which the kernel confirms the message, if that is asked for.
func (m Message) Ack() [][]byte {
	var out answers
	return out.single(m, nil)
}

// Refuse returns the datagram by which the kernel says that it does not carry out the message. It
// ends a list as well.
func (m Message) Refuse(number unix.Errno) [][]byte {
	var out answers
	return out.single(m, number)
}

func (m Message) flags() uint16 { return native.Uint16(m[6:]) }

// dumps reports whether a list is asked for.
func (m Message) dumps() bool { return m.flags()&unix.NLM_F_DUMP == unix.NLM_F_DUMP }

// command returns the command, 0 if the message is too short for one.
func (m Message) command() command {
	if len(m) < headers {
		return 0
	}
	return command(m[unix.NLMSG_HDRLEN])
}

func (m Message) attrs() []byte { return m[headers:] }

// appendMessage appends a message to the asker of m.
func appendMessage(b []byte, m Message, kind, flags uint16, body []byte) []byte {
	b = native.AppendUint32(b, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = native.AppendUint16(b, kind)
	b = native.AppendUint16(b, flags)
	b = append(b, m[8:16]...) // its sequence number and port
	return append(b, body...)
}

// answers are the bodies of a message's answers.
type answers struct {
	family uint16
	bodies [][]byte
}

// add adds an answer: a command with its attributes.
func (a *answers) add(family uint16, cmd command, attrs []byte) {
	a.family = family
	a.bodies = append(a.bodies, append([]byte{byte(cmd), Version, 0, 0}, attrs...))
}

// single returns the answers, each in a datagram of its own, and the confirmation or the
// error behind them (af_netlink.c, netlink_ack).
func (a *answers) single(m Message, err error) (out [][]byte) {
	for _, body := range a.bodies {
		out = append(out, appendMessage(nil, m, a.family, 0, body))
	}
	if err == nil && m.flags()&unix.NLM_F_ACK == 0 {
		return out
	}
	var number unix.Errno
	asked, flags := m[:unix.NLMSG_HDRLEN], uint16(unix.NLM_F_CAPPED)
	if err != nil {
		number, asked, flags = errnoOf(err), m, 0
	}
	body := append(native.AppendUint32(nil, uint32(-int32(number))), asked...)
	return append(out, appendMessage(nil, m, unix.NLMSG_ERROR, flags, body))
}

// full is how many bytes of answers the kernel puts in a datagram of a list
// (NLMSG_GOODSIZE with pages of 4 KiB).
const full = 3776

// dump returns the answers as a list.
func (a *answers) dump(m Message) (out [][]byte) {
	var datagram []byte
	for _, body := range a.bodies {
		if len(datagram) > 0 && len(datagram)+unix.NLMSG_HDRLEN+len(body) > full {
			out = append(out, datagram)
			datagram = nil
		}
		datagram = appendMessage(datagram, m, a.family, unix.NLM_F_MULTI, body)
	}
	if len(datagram) > 0 {
		out = append(out, datagram)
	}
	return append(out, appendMessage(nil, m, unix.NLMSG_DONE, unix.NLM_F_MULTI, make([]byte, 4)))
}
