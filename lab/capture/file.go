package capture

import (
	"bufio"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"uvs/internal/pcapng"
	"uvs/lab"
)

// File writes frames as a capture in the pcapng format.
type File struct {
	buffer *bufio.Writer
	w      *pcapng.Writer
}

// NewFile writes the beginning of a capture, made by application, with an interface for each
// link. It reaches w at once: a reader of a pipe need not wait for the first frame.
func NewFile(w io.Writer, application string, t *lab.Topology, links []Link) (*File, error) {
	f := &File{buffer: bufio.NewWriterSize(w, 1<<16)}
	var err error
	if f.w, err = pcapng.NewWriter(f.buffer, application); err != nil {
		return nil, err
	}
	for _, l := range links {
		text := "network " + l.Network
		if n := t.Node(l.Node); n != nil {
			text = fmt.Sprintf("%s, network %s", n.Role, l.Network)
		}
		if err := f.w.Describe(l.String(), text); err != nil {
			return nil, err
		}
	}
	return f, f.Flush()
}

// Frame writes a frame.
func (f *File) Frame(fr *Frame) error {
	flags := pcapng.Inbound
	if fr.Out {
		flags = pcapng.Outbound
	}
	switch {
	case fr.Kind == unix.PACKET_OTHERHOST:
		flags |= pcapng.ToOthers
	case len(fr.Bytes) >= 6 && [6]byte(fr.Bytes) == [6]byte{255, 255, 255, 255, 255, 255}:
		flags |= pcapng.Broadcast
	case len(fr.Bytes) > 0 && fr.Bytes[0]&1 != 0:
		flags |= pcapng.Multicast
	default:
		flags |= pcapng.Unicast
	}
	return f.w.Write(&pcapng.Packet{Interface: fr.Link.String(), Time: fr.Time, Frame: fr.Bytes, Length: fr.Length, Flags: flags})
}

// Flush hands over what was written so far.
func (f *File) Flush() error { return f.buffer.Flush() }

// End writes how many frames of each link were read and missed, and flushes.
func (f *File) End(counts []Count) error {
	now := time.Now()
	for _, c := range counts {
		if err := f.w.Statistics(c.Link.String(), now, c.Read+c.Missed, c.Missed); err != nil {
			return err
		}
	}
	return f.Flush()
}
