package fdstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"

	"golang.org/x/sys/unix"
)

// perMessage is how many descriptors go with one message; the kernel takes 253
// (SCM_MAX_FD).
const perMessage = 64

// Handover is the connection between a director and the one that replaces it: messages in
// JSON, with descriptors (SCM_RIGHTS, unix(7)). It belongs to one goroutine.
type Handover struct {
	conn    *net.UnixConn
	decoder *json.Decoder
	arrived []int // descriptors that came and belong to no message yet
}

// reader puts the descriptors aside that come with the bytes.
type reader struct{ *Handover }

// NewHandover returns a Handover over a connected stream socket, from which nobody else
// reads. Nothing must have been read ahead of it: descriptors would be lost.
func NewHandover(c *net.UnixConn) *Handover {
	h := &Handover{conn: c}
	h.decoder = json.NewDecoder(reader{h})
	return h
}

func (h reader) Read(b []byte) (int, error) {
	rights := make([]byte, unix.CmsgSpace(perMessage*4))
	n, size, _, _, err := h.conn.ReadMsgUnix(b, rights)
	if size > 0 {
		h.arrived = append(h.arrived, rightsIn(rights[:size])...)
	}
	if n == 0 && err == nil {
		err = io.EOF
	}
	return n, err
}

// rightsIn returns the descriptors in control messages.
func rightsIn(b []byte) (fds []int) {
	messages, err := unix.ParseSocketControlMessage(b)
	if err != nil {
		return nil
	}
	for i := range messages {
		if got, err := unix.ParseUnixRights(&messages[i]); err == nil {
			fds = append(fds, got...)
		}
	}
	return fds
}

// Send sends a message, which JSON can hold.
func (h *Handover) Send(message any) error {
	text, err := json.Marshal(message)
	if err == nil {
		_, err = h.conn.Write(append(text, '\n'))
	}
	return err
}

// Receive receives the next message into a pointer.
func (h *Handover) Receive(message any) error { return h.decoder.Decode(message) }

// descriptors is the message that some descriptors go with.
type descriptors struct {
	Names []string `json:"names"`
	More  bool     `json:"more"` // another message follows
}

// SendStore sends all descriptors of a Store. They stay in it as well.
func (h *Handover) SendStore(s *Store) error {
	names := s.Names("")
	for part := range slices.Chunk(append(names, ""), perMessage) { // at least one message
		last := part[len(part)-1] == ""
		if last {
			part = part[:len(part)-1]
		}
		if err := h.sendSome(s, descriptors{Names: part, More: !last}); err != nil {
			return fmt.Errorf("fdstore: pass descriptors: %w", err)
		}
	}
	return nil
}

func (h *Handover) sendSome(s *Store, d descriptors) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	fds := make([]int, 0, len(d.Names))
	for _, name := range d.Names {
		it := s.kept[name]
		if it == nil {
			return fmt.Errorf("%s is kept no longer", name)
		}
		fds = append(fds, it.fd)
	}
	text, err := json.Marshal(d)
	if err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	n, _, err := h.conn.WriteMsgUnix(text, rights, nil)
	if err == nil && n < len(text) {
		_, err = h.conn.Write(text[n:])
	}
	return err
}

// ReceiveStore receives what SendStore sends, into a Store. If that has no service manager,
// it is taken that the sender's holds the descriptors; Attach says so.
func (h *Handover) ReceiveStore(s *Store) error {
	for more := true; more; {
		var d descriptors
		if err := h.Receive(&d); err != nil {
			return fmt.Errorf("fdstore: receive descriptors: %w", err)
		}
		if len(h.arrived) < len(d.Names) {
			return errors.New("fdstore: receive descriptors: some did not arrive; the limit of open files may be too low (ulimit -n)")
		}
		s.receive(d.Names, h.arrived[:len(d.Names)])
		h.arrived, more = h.arrived[len(d.Names):], d.More
	}
	return nil
}

// receive keeps descriptors that arrived.
func (s *Store) receive(names []string, fds []int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, name := range names {
		if checkName(name) != nil {
			_ = unix.Close(fds[i])
			continue
		}
		it := s.put(name, fds[i])
		if it.held = s.manager == ""; !it.held {
			_ = s.give(name, it)
		}
	}
}

// Manager returns the address of the service manager that holds the descriptors, or "".
func (s *Store) Manager() string {
	if s == nil {
		return ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.manager
}

// Close closes the connection, and descriptors that came without a message.
func (h *Handover) Close() error {
	for _, fd := range h.arrived {
		_ = unix.Close(fd)
	}
	h.arrived = nil
	return h.conn.Close()
}
