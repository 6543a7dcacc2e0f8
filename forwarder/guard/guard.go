// Package guard keeps the host's own stack from handling the director's packets.
//
// The kernel sees every frame that the director's ports see. It would answer a client
// with a reset where a virtual address is configured on the host, and forward a real
// server's reply untranslated where ip_forward is on. A Guard drops such frames at the
// netdev ingress hook of nftables, which comes after the taps: packet sockets bound to
// ETH_P_ALL still get each frame (packet(7), nft(8)).
//
// What is dropped: packets for a virtual service, replies of real servers unless the
// host itself is their destination (its health checks continue), all packets for
// FULLNAT's local addresses, the later fragments of all these, recognised by the first
// one, and ICMP errors about them, which the director translates. ARP and neighbour
// discovery always pass, as do frames with a VLAN tag and frames for other hosts, which
// belong to other interfaces.
//
// The table is owned by a socket of the process (NFT_TABLE_F_OWNER, Linux 5.12): no other
// process can change it, and it disappears with the process, however that ends, unless a
// store keeps the socket. The next process then fills a table of its own, with the other of
// two names, before it lets the first one go: both drop the same meanwhile. Rules are few and
// fixed; tuples are elements of hash sets, in which Set and Change touch only the
// differences; firewall marks have chains of their own.
package guard

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"

	"uvs/internal/fdstore"
)

// ErrUnavailable is wrapped by the error of New if packets cannot be kept from the
// host's stack: without privilege, or on a kernel without the features.
var ErrUnavailable = errors.New("the host's own stack cannot be kept away from what the director serves")

// ErrGuarded is wrapped by the error of New if the network namespace has a Guard
// already, of another director.
var ErrGuarded = errors.New("another director guards this network namespace")

// Rules describes all that a Guard drops, and where.
type Rules struct {
	// Links are the names of the interfaces the director has ports on. One that does not
	// exist is ignored.
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
	// Host redirects to the loopback interface what the host itself sends on the links and
	// the rules would drop on arrival: requests of clients on the host, replies of servers
	// on it. There packet sockets see these packets and the host does not; the same holds
	// for what the host sends to itself over loopback. Packets with frame.OwnMark are not
	// touched. See RedirectsHost.
	Host bool
	// Marks assign requests to services by firewall mark; the first that matches a packet
	// decides whether it is dropped.
	Marks []Match
}

// Change is the difference between two sets of Rules on the same links.
type Change struct {
	// Add and Remove hold the difference in Virtual, Servers and Local. Tuples and
	// addresses are counted: what is removed must have been added.
	Add, Remove Rules
	// Marks are all the new ones, or nil if they are unchanged.
	Marks []Match
}

// Match is a rule like those of iptables: all fields that are set must match.
type Match struct {
	Six                bool         // for IPv6
	Src, Dst           netip.Prefix // invalid: any
	Proto              uint8
	SrcPorts, DstPorts [2]uint16 // first and last; 0, 0: any
	Drop               bool      // else the other rules decide
}

// Tuple is an endpoint. Port 0 stands for all ports, and is used for protocols without
// ports; protocol 0 for all protocols and ports.
type Tuple struct {
	Proto uint8
	Addr  netip.Addr
	Port  uint16
}

// Guard is the table of one network namespace. It is safe for concurrent use.
type Guard struct {
	log   *slog.Logger
	store *fdstore.Store // keeps the table beyond the life of the process; nil: nothing does

	mu     sync.Mutex
	conn   *nftables.Conn
	table  *nftables.Table
	sets   [numSets]*nftables.Set
	have   elements
	marks  [2]marks       // by IP version
	tuples map[Tuple]int  // of AddTuple, and how often
	links  map[string]int // guarded, with their interface indexes

	replies     map[Reply]struct{} // of AddReply
	nl          *netlink.Conn      // that of conn, for what the library lacks
	canRedirect bool               // the table can redirect the host's packets to the director
	redirecting bool               // it does so on the links

	pending int  // elements waiting to be sent
	keeps   bool // the table is the one that is kept

	silenced map[netip.Addr]bool // addresses of Silence

	Work int // elements and rules sent to the kernel, for tests
}

// New makes the table, which drops nothing yet, in the network namespace of the calling
// thread; Set must be called in the same one. A table that the store has from an earlier
// process goes on dropping what it dropped until Keep.
func New(log *slog.Logger, store *fdstore.Store) (*Guard, error) {
	if log == nil {
		log = slog.Default()
	}
	g := &Guard{log: log, store: store}
	if err := g.open(); err != nil {
		return nil, err
	}
	return g, nil
}

// Close removes the table.
func (g *Guard) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	forget(g.store, "")
	return g.closeTable()
}

// Leave ends the Guard and leaves its table to the next one, if a store keeps it.
func (g *Guard) Leave() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closeTable()
}

// Set replaces the rules. The change is one transaction, unless there are thousands of
// differences: then all additions come before any removal. Interfaces may have been
// renamed or recreated since the last call.
func (g *Guard) Set(r Rules) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	want := r.elements()
	g.addConns(&want)
	r.Host = r.Host && g.canRedirect
	if g.conn != nil {
		err := g.change(want, &r)
		if err == nil {
			return nil
		}
		g.log.Warn("guard: changing the rules failed, making them anew", "err", err)
		g.closeTable()
	}
	// The table of a closed connection is removed asynchronously; open waits.
	if err := g.open(); err != nil {
		return err
	}
	if err := g.change(want, &r); err != nil {
		g.closeTable()
		return fmt.Errorf("guard: set rules: %w", err)
	}
	if g.keeps {
		g.keep()
	}
	return nil
}

// Change changes the rules, in time proportional to the difference, which is one
// transaction unless there are thousands. After an error there is no table until Set.
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
		g.closeTable()
		return fmt.Errorf("guard: change rules: %w", err)
	}
	return nil
}

func (g *Guard) closeTable() error {
	if g.conn == nil {
		return nil
	}
	err := g.conn.CloseLasting()
	g.conn, g.nl, g.have, g.marks, g.links, g.redirecting = nil, nil, elements{}, [2]marks{}, nil, false
	return err
}
