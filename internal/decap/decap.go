// Package decap is the receiving end of a tunnel without a tunnel device: it decapsulates
// packets that a director sent with -i and hands the inner ones to the host's own stack.
// It works whether or not the kernel has an ipip, gre or fou module.
//
// Packets arrive on raw sockets of the protocols 4 (IPv4 inside), 41 (IPv6 inside) and 47
// (GRE), over IPv4 and IPv6, and on a UDP socket for GUE. The kernel has reassembled
// fragments by then, and sends no "protocol unreachable" while such a socket is open. The
// inner packets go back into the stack through a TUN device if /dev/net/tun can be opened,
// with consecutive segments of a TCP connection in one piece; otherwise through a packet
// socket on lo. They then are ordinary packets to the VIP, which must be an address of the
// host; rp_filter must not be strict, since replies leave by another interface.
//
// There is one goroutine per socket; they share only the injector, which is safe for
// concurrent use, and the counters.
package decap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"uvs/internal/peer"
)

// Config says what to decapsulate and how to hand it on.
type Config struct {
	Via  string         // "tun", "lo" or "auto": TUN where it opens
	GUE  int            // UDP port for GUE, 0 for none
	From []netip.Prefix // outer sources to accept, all if empty
	Log  *slog.Logger
}

// Counters tell what happened to the packets, in packets.
type Counters struct {
	Delivered atomic.Uint64
	Malformed atomic.Uint64 // contents do not match the outer header
	Refused   atomic.Uint64 // outer source not in From
	Congested atomic.Uint64 // marked CE outside, not ECN-capable inside (RFC 6040)
	Failed    atomic.Uint64 // the host did not accept it
}

// lock is an abstract socket that one decapsulator of a network namespace has bound: two
// would deliver every packet twice. It also shows that the decapsulator is ready.
const lock = "@uvs-decap"

// injector hands inner packets to the host's stack. Each begins room bytes into its slice;
// the bytes before it and those after it, up to the slice's capacity, may be overwritten.
// inject returns how many packets the host did not accept.
type injector interface {
	inject(packets [][]byte) (failed int)
	Close() error
}

// room is how many bytes are free before a packet.
const room = 16

type decapsulator struct {
	Config
	Counters
	to injector
}

// Run decapsulates until ctx ends.
func Run(ctx context.Context, cfg Config) error {
	to, err := open(cfg.Via)
	if err != nil {
		return err
	}
	defer to.Close()
	d := &decapsulator{Config: cfg, to: to}
	sources, err := d.listen()
	defer closeAll(sources)
	if err != nil {
		return err
	}
	l, err := lockNamespace(cfg.Log)
	if err != nil {
		return err
	}
	defer l.Close()
	d.warnReversePath()
	err = d.receive(ctx, sources)
	cfg.Log.Info("decap ends", "delivered", d.Delivered.Load(), "malformed", d.Malformed.Load(),
		"refused", d.Refused.Load(), "congested", d.Congested.Load(), "failed", d.Failed.Load())
	return err
}

// lockNamespace makes the process the one decapsulator of its network namespace. If an
// untrusted process, which cannot be a decapsulator, has bound the name, it continues
// without the lock.
func lockNamespace(log *slog.Logger) (io.Closer, error) {
	l, err := net.Listen("unix", lock)
	if !errors.Is(err, unix.EADDRINUSE) {
		if err != nil {
			return nil, fmt.Errorf("decap: %w", err)
		}
		return l, nil
	}
	c, err := net.Dial("unix", lock)
	if err != nil {
		return nil, fmt.Errorf("decap: another one runs in this network namespace: %w", err)
	}
	who, err := peer.Of(c)
	if err == nil && who.Trusted() {
		c.Close()
		return nil, fmt.Errorf("decap: another one runs in this network namespace (%s)", who)
	}
	log.Warn("decap: somebody holds the name by which one decapsulator knows of another", "name", lock, "holder", who.String())
	return c, nil
}

// receive runs one loop per socket and returns when ctx ends or one fails.
func (d *decapsulator) receive(ctx context.Context, sources []*source) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { closeAll(sources) })
	defer stop()
	var wg sync.WaitGroup
	for _, s := range sources {
		wg.Go(func() {
			if err := d.loop(s); ctx.Err() == nil {
				cancel(fmt.Errorf("decap: %s: %w", s.name, err))
			}
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// loop reads packets from a socket until reading fails.
func (d *decapsulator) loop(s *source) error {
	for {
		outers, err := s.read()
		if err != nil {
			return err
		}
		d.deliver(s, outers)
	}
}

// deliver decapsulates packets and hands the inner ones to the host.
func (d *decapsulator) deliver(s *source, outers []outer) {
	s.packets = s.packets[:0]
	for _, p := range outers {
		if inner := d.inner(s, p); inner != nil {
			begin := cap(p.buf) - cap(inner)
			s.packets = append(s.packets, p.buf[begin-room:begin+len(inner)])
		}
	}
	if len(s.packets) == 0 {
		return
	}
	failed := d.to.inject(s.packets)
	d.Failed.Add(uint64(failed))
	d.Delivered.Add(uint64(len(s.packets) - failed))
}

// inner decapsulates one packet; nil if it is dropped.
func (d *decapsulator) inner(s *source, p outer) []byte {
	if !d.accepts(p.src) {
		d.Refused.Add(1)
		return nil
	}
	inner, err := s.unwrap(p.payload)
	if err == nil {
		inner, err = trim(inner)
	}
	if err != nil {
		d.Malformed.Add(1)
		return nil
	}
	if !propagateECN(p.tos, inner) {
		d.Congested.Add(1)
		return nil
	}
	completeChecksum(inner)
	return inner
}

func (d *decapsulator) accepts(src netip.Addr) bool {
	for _, p := range d.From {
		if p.Contains(src) {
			return true
		}
	}
	return len(d.From) == 0
}

// warnReversePath warns of strict reverse path filtering (the larger of "all" and the
// interface's value counts, ip-sysctl), with which the host drops packets whose replies
// would leave by another interface.
func (d *decapsulator) warnReversePath() {
	for _, dev := range []string{"all", "lo"} {
		b, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + dev + "/rp_filter")
		if err == nil && strings.TrimSpace(string(b)) == "1" {
			d.Log.Warn("strict reverse path filtering will drop what comes out of the tunnel",
				"fix", "sysctl -w net.ipv4.conf."+dev+".rp_filter=0")
		}
	}
}

func closeAll(sources []*source) {
	for _, s := range sources {
		s.conn.Close()
	}
}
