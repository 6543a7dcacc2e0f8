package load

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
)

// The nodes that the tester works in.
const (
	ClientNode = "client"
	ServerNode = "server"
)

// inNode runs f on a thread that is in a node's network namespace. The tester
// is a process of the lab, where /run/netns names them all.
func inNode(node string, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ns, err := netns.GetFromName(node)
		if err == nil {
			err = netns.Set(ns)
			ns.Close()
		}
		if err != nil {
			done <- fmt.Errorf("bench: enter node %s: %w", node, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// linkOf returns an interface of a node.
func linkOf(node, name string) (ifi *net.Interface, err error) {
	err = inNode(node, func() error {
		l, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("bench: %s of node %s: %w", name, node, err)
		}
		a := l.Attrs()
		ifi = &net.Interface{Index: a.Index, Name: a.Name, MTU: a.MTU, HardwareAddr: a.HardwareAddr}
		return nil
	})
	return ifi, err
}

// LinkCall names an interface of a node.
type LinkCall struct{ Node, Link string }

// MAC returns the address of an interface.
func (t *Tester) MAC(c LinkCall, mac *string) error {
	ifi, err := linkOf(c.Node, c.Link)
	if err == nil {
		*mac = ifi.HardwareAddr.String()
	}
	return err
}

// AddrAfter returns the nth address after another.
func AddrAfter(a netip.Addr, n uint32) netip.Addr {
	b := a.As4()
	binary.BigEndian.PutUint32(b[:], binary.BigEndian.Uint32(b[:])+n)
	return netip.AddrFrom4(b)
}
