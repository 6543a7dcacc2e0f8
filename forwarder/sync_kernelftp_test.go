package forwarder

import (
	"fmt"
	"strings"
	"testing"

	"uvs/forwarder/frame"
	"uvs/internal/kernelvm/recording"
)

const kernelFTPRules = `-A -t 10.2.0.1:21 -s rr
-a -t 10.2.0.1:21 -r 10.1.0.1:21 -m
-A -t 10.2.0.100:21 -s rr
-a -t 10.2.0.100:21 -r 10.1.0.1:21 -m
`

// ftpTalk is a control connection of FTP and a data connection, through a director or the
// kernel: what leaves for a packet of the client, and of the server.
type ftpTalk struct {
	t              *testing.T
	request, reply func(p []byte) []byte
	virtual        string // address
	from, dataFrom string // of the client
	client, server uint32 // the numbers that each has come to, by its own count
	grown          uint32 // by how much more the client has heard
	unsummed       bool   // checksums are not looked at
}

// says sends a segment of the client on the control connection, and returns what the server
// gets.
func (k *ftpTalk) says(flags uint8, line string) string {
	k.t.Helper()
	p := at(k.t, 1, k.from, k.virtual+":21", flags, k.client, k.server+k.grown, line)
	k.client += uint32(len(line))
	return k.described(k.request(p))
}

// answers sends a segment of the server, and returns what the client gets.
func (k *ftpTalk) answers(flags uint8, line string) string {
	k.t.Helper()
	p := at(k.t, 2, "10.1.0.1:21", k.from, flags, k.server, k.client, line)
	k.server += uint32(len(line))
	return k.described(k.reply(p))
}

// data sends a segment on the data connection, of the client or of the server.
func (k *ftpTalk) data(ofClient bool, flags uint8, seq, ack uint32, text string) string {
	k.t.Helper()
	if ofClient {
		return k.described(k.request(at(k.t, 1, k.dataFrom, k.virtual+":51210", flags, seq, ack, text)))
	}
	return k.described(k.reply(at(k.t, 2, "10.1.0.1:51210", k.dataFrom, flags, seq, ack, text)))
}

func (k *ftpTalk) described(p []byte) string {
	k.t.Helper()
	if p == nil {
		return "nothing"
	}
	said := " " + string(p[frame.EthernetLen+40:])
	if k.unsummed {
		return mask(recording.Describe(p)) + said
	}
	return describe(k.t, p) + said
}

// begin logs in, as far as that matters, and opens a passive data connection.
func (k *ftpTalk) begin() {
	k.t.Helper()
	k.client, k.server = 999, 4999
	k.says(syn, "")
	k.client++
	k.answers(syn|ack, "")
	k.server++
	k.says(ack, "")
	k.says(ack, "PASV\r\n")
	const line = "227 Entering Passive Mode (10,1,0,1,200,10).\r\n"
	told := strings.ReplaceAll(k.virtual, ".", ",") + ",200,10"
	if got := k.answers(ack, line); !strings.Contains(got, told) {
		k.t.Errorf("the client is told %q, want %s", got, told)
	}
	k.grown = uint32(len(told) - len("10,1,0,1,200,10"))
	k.data(true, syn, 100, 0, "")
	k.data(false, syn|ack, 200, 101, "")
	k.data(true, ack, 101, 201, "")
	k.data(true, ack, 101, 201, "some")
}

// goOn goes on with both connections. The client hears numbers that have grown by so much,
// and the server is told of its own.
func (k *ftpTalk) goOn() {
	k.t.Helper()
	server := k.server
	for _, c := range []struct{ what, got, want string }{
		{"a command", k.says(ack, "NOOP\r\n"), fmt.Sprintf("ack=%d ", server)},
		{"its answer", k.answers(ack, "200 ok\r\n"), fmt.Sprintf("seq=%d ", server+k.grown)},
		{"data of the client", k.data(true, ack, 105, 201, "more"), "more"},
		{"data of the server", k.data(false, ack, 201, 109, "most"), "most"},
	} {
		if !strings.Contains(c.got+" ", c.want) {
			k.t.Errorf("%s: %q, want %q", c.what, c.got, c.want)
		}
	}
}

func (k *ftpTalk) by(b *testbed) {
	only := func(out []sent) []byte {
		if len(out) != 1 {
			return nil
		}
		return out[0].b
	}
	k.request, k.reply = func(p []byte) []byte { return only(b.send(1, p)) }, func(p []byte) []byte { return only(b.send(2, p)) }
}

// Connections of FTP with a kernel as master, and then with the director as one. The kernel leaves
// it to its own tracking of connections to shift the numbers of a control connection, and tells
// nobody by how much: so there an answer grows by nothing.
func (k *kernelPeer) ftp(t *testing.T) {
	k.t = t
	k.run("ipvsadm -C; modprobe -r ip_vs_ftp ip_vs_rr ip_vs; modprobe ip_vs_ftp; sysctl -qw net.netfilter.nf_conntrack_tcp_be_liberal=1")
	k.apply(kernelFTPRules)
	first := &ftpTalk{t: t, request: k.send, reply: k.answer, virtual: "10.2.0.1", from: "172.16.0.9:3001", dataFrom: "172.16.0.9:3002"}
	t.Run("it goes on at the director", func(t *testing.T) {
		b := ftpBed(t, k)
		b.ipvsadm("--start-daemon backup --mcast-interface s --syncid 7")
		k.run("ipvsadm --start-daemon master --mcast-interface eth0 --syncid 7")
		first.begin()
		k.expectEqual("the kernel is the master of FTP", b, 2, "")
		first.by(b)
		first.goOn()
		k.run("ipvsadm --stop-daemon master")
	})
	t.Run("it goes on at the kernel", func(t *testing.T) {
		b := ftpBed(t, k)
		k.run("ipvsadm --start-daemon backup --mcast-interface eth0 --syncid 7")
		b.ipvsadm("--start-daemon master --mcast-interface s --syncid 7")
		leave := first.from + " " + first.dataFrom
		same := &ftpTalk{t: t, virtual: "10.2.0.1", from: "172.16.0.9:3003", dataFrom: "172.16.0.9:3004"}
		// The kernel shifts numbers as it is told, and leaves the checksum as it was.
		grown := &ftpTalk{t: t, virtual: "10.2.0.100", from: "172.16.0.9:3005", dataFrom: "172.16.0.9:3006", unsummed: true}
		for _, talk := range []*ftpTalk{same, grown} {
			talk.by(b)
			talk.begin()
			k.expectEqual("the director is the master of FTP", b, 2, leave)
			talk.request, talk.reply = k.send, k.answer
			talk.goOn()
			leave += " " + talk.from + " " + talk.dataFrom
		}
		b.ipvsadm("--stop-daemon master")
		k.run("ipvsadm --stop-daemon backup")
	})
}

// ftpBed is a director with kernelFTPRules.
func ftpBed(t *testing.T, k *kernelPeer) *testbed {
	k.t = t
	b := kernelBed(t, k)
	for line := range strings.Lines(kernelFTPRules) {
		b.ipvsadm(strings.TrimSpace(line))
	}
	return b
}
