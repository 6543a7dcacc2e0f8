package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
)

// unhelp forgets what was kept beside the table about a connection or template
// that has ended: FTP's, or a Call-ID.
func (fw *Forwarder) unhelp(c *conntrack.Conn) {
	switch {
	case c.Has(conntrack.Template):
		fw.calls.forget(fw.conns.Ref(c))
	case c.VirtualPort == ftpPort:
		fw.controls.forget(fw.conns.Ref(c))
	default:
		fw.release(c)
	}
}

// dataPorts returns the ports that packets of a service on a port may have: with
// FTP's control connections come data connections, of any port.
func dataPorts(proto uint8, port uint16) uint16 {
	if proto == frame.ProtoTCP && port == ftpPort {
		return 0
	}
	return port
}

// holder is a Guard that takes single tuples besides its rules.
type holder interface {
	Hold(t guard.Tuple) error
	Release(t guard.Tuple) error
}

// hold keeps a data connection from the host's stack where the host has the
// virtual address itself: its ports are known only now.
func (fw *Forwarder) hold(c *conntrack.Conn) {
	if g, ok := fw.conf.Guard.(holder); ok {
		if err := g.Hold(guardTuple(c)); err != nil {
			fw.log.Error("guard an FTP data connection", "err", err)
		}
	}
}

// release undoes hold, if it was done.
func (fw *Forwarder) release(c *conntrack.Conn) {
	if g, ok := fw.conf.Guard.(holder); ok {
		if err := g.Release(guardTuple(c)); err != nil {
			fw.log.Error("release an FTP data connection", "err", err)
		}
	}
}

func guardTuple(c *conntrack.Conn) guard.Tuple {
	return guard.Tuple{Proto: c.Proto(), Addr: c.VirtualAddr().Addr(), Port: c.VirtualPort}
}
