// Package guard keeps the host's own stack away from what the director serves.
//
// The kernel sees every frame that the director's ports see. It would answer a
// client with a reset where a virtual address is configured on the host, and
// forward a real server's reply untranslated where ip_forward is on. A Guard
// drops such frames at the netdev ingress hook of nftables, which lies behind
// the taps: packet sockets bound to ETH_P_ALL still get each frame
// (packet(7), nft(8)).
//
// What is dropped: packets for a virtual service, replies of real servers
// unless the host itself is their destination (its health checks go on), all
// packets for FULLNAT's local addresses, the later fragments of all these,
// known by their first one, and ICMP errors about them, which the director
// translates. ARP and neighbour discovery always pass, as do frames with a VLAN
// tag and frames for other hosts, which belong to other interfaces.
//
// The table is owned by the process (NFT_TABLE_F_OWNER, Linux 5.12): it goes
// when the process goes, however it ends, and no other process can change it.
// Rules are few and fixed; tuples are elements of hash sets, of which Set and
// Change change only those that differ; firewall marks have chains of their own.
package guard

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
)

// ErrUnavailable is wrapped by the error of New if the host's stack cannot be
// kept away: without privilege, or on a kernel without the means.
var ErrUnavailable = errors.New("the host's own stack cannot be kept away from what the director serves")

// ErrGuarded is wrapped by the error of New if the network namespace has a
// Guard already, which is another director's.
var ErrGuarded = errors.New("another director guards this network namespace")

// Rules is all that a Guard drops, and where.
type Rules struct {
	// Links are the names of the interfaces the director has ports on. One that
	// does not exist is left out.
	Links []string
	// Virtual are the destinations of requests: virtual services, and the ports
	// of a virtual address that belong to them, such as FTP's data.
	Virtual []Tuple
	// Servers are the sources of replies: real servers whose replies pass the
	// director, and their ports.
	Servers []Tuple
	// Local are FULLNAT's local addresses. Every packet for them is dropped; of
	// those that are the host's own addresses as well, only the replies of
	// Servers.
	Local []netip.Addr
	// Host leads to the loopback interface what the host itself sends by the
	// links and the rules name as to be dropped on arrival: requests of clients on
	// the host, replies of servers on it. There, and likewise what it sends itself
	// that way, packet sockets see it and the host does not. What bears
	// frame.OwnMark is not touched. See LeadsHost.
	Host bool
	// Marks are what leads requests to services by firewall mark; the first that
	// matches a packet says whether it is dropped.
	Marks []Match
}

// Change is the difference between two sets of Rules on the same links.
type Change struct {
	// Add and Remove have the difference in Virtual, Servers and Local. Tuples and
	// addresses are in Rules as often as they are given: what is to go away must
	// have been there.
	Add, Remove Rules
	// Marks are all of the new ones, or nil if they stay.
	Marks []Match
}

// Match is a rule in the manner of iptables, of which all that is set must fit.
type Match struct {
	Six                bool         // for IPv6
	Src, Dst           netip.Prefix // invalid: any
	Proto              uint8
	SrcPorts, DstPorts [2]uint16 // first and last; 0, 0: any
	Drop               bool      // else the other rules decide
}

// Tuple is an endpoint. Port 0 stands for all ports, and is right for protocols
// without ports; protocol 0 for all protocols and ports.
type Tuple struct {
	Proto uint8
	Addr  netip.Addr
	Port  uint16
}

// Guard is the table of one network namespace. It is safe for concurrent use.
type Guard struct {
	log *slog.Logger

	mu    sync.Mutex
	conn  *nftables.Conn
	table *nftables.Table
	sets  [numSets]*nftables.Set
	have  elements
	marks [2]marks       // by IP version
	holds map[Tuple]int  // tuples of Hold, how often
	links map[string]int // guarded, with their interface indexes

	replies map[Reply]struct{} // of HoldReply
	nl      *netlink.Conn      // that of conn, for what the library lacks
	leads   bool               // the table can lead the host's packets to the director
	leading bool               // it does on the links

	pending int // elements that wait to be sent

	Work int // elements and rules sent to the kernel, for tests
}

// New makes the table, which drops nothing yet, in the network namespace of the
// calling thread; Set is to be called in the same one.
func New(log *slog.Logger) (*Guard, error) {
	if log == nil {
		log = slog.Default()
	}
	g := &Guard{log: log}
	if err := g.open(); err != nil {
		return nil, err
	}
	return g, nil
}

// Close removes the table.
func (g *Guard) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shut()
}

// Set replaces the rules. The change is one transaction, unless there are
// thousands of differences, of which it then makes all additions before any
// removal. Interfaces may have been renamed or made anew since the last call.
func (g *Guard) Set(r Rules) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	want := r.elements()
	g.addHeld(&want)
	r.Host = r.Host && g.leads
	if g.conn != nil {
		err := g.change(want, &r)
		if err == nil {
			return nil
		}
		g.log.Warn("guard: changing the rules failed, making them anew", "err", err)
		g.shut()
	}
	// The table of a closed connection is removed asynchronously; open waits.
	if err := g.open(); err != nil {
		return err
	}
	if err := g.change(want, &r); err != nil {
		g.shut()
		return fmt.Errorf("guard: set rules: %w", err)
	}
	return nil
}

// Change changes the rules, in time proportional to the difference, which is one
// transaction unless there are thousands. After an error the table is gone until
// Set.
func (g *Guard) Change(c Change) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.conn == nil {
		return errors.New("guard: there is no table to change")
	}
	add, remove := c.Add.elements(), c.Remove.elements()
	var err error
	if c.Marks != nil {
		err = g.changeMarks(c.Marks)
	}
	if err == nil {
		err = g.putAll(g.have.count(&add, 1), g.conn.SetAddElements)
	}
	if err == nil {
		err = g.putAll(g.have.count(&remove, -1), g.conn.SetDeleteElements)
	}
	if err == nil {
		err = g.flush()
	}
	if err != nil {
		g.shut()
		return fmt.Errorf("guard: change rules: %w", err)
	}
	return nil
}

func (g *Guard) shut() error {
	if g.conn == nil {
		return nil
	}
	err := g.conn.CloseLasting()
	g.conn, g.nl, g.have, g.marks, g.links, g.leading = nil, nil, elements{}, [2]marks{}, nil, false
	return err
}
