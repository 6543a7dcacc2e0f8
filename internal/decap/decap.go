// Package decap is the far end of a tunnel without a tunnel device: it takes
// the outer header off packets that a director sent with -i and hands the
// inner ones to the host's own stack, on kernels that have no ipip, gre or fou
// module as on those that have.
//
// Packets arrive on raw sockets of the protocols 4 (IPv4 inside), 41 (IPv6
// inside) and 47 (GRE), over IPv4 and IPv6, and on a UDP socket for GUE. The
// kernel has reassembled fragments by then, and sends no "protocol
// unreachable" while such a socket is open. What is inside goes back into the
// stack through a TUN device where /dev/net/tun opens, consecutive segments of a
// TCP connection in one piece, otherwise by a packet socket on lo. It then is an ordinary packet to the VIP, which must be an
// address of the host; rp_filter must not be strict, since the answer leaves
// by another interface.
//
// One goroutine per socket; they share nothing but the injector, which is safe
// for concurrent use, and the counters.
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
	Malformed atomic.Uint64 // not what the outer header promised
	Refused   atomic.Uint64 // outer source not in From
	Congested atomic.Uint64 // marked CE outside, not ECN-capable inside (RFC 6040)
	Failed    atomic.Uint64 // the host did not take it
}

// lock is an abstract socket that one decapsulator of a network namespace
// holds: two would deliver every packet twice. It also tells that it is ready.
const lock = "@uvs-decap"

// injector hands inner packets to the host's stack. Each begins room bytes into
// its slice; the bytes before it and those after it, as far as the slice can
// reach, may be overwritten. It returns how many the host did not take.
type injector interface {
	inject(packets [][]byte) (failed int)
	Close() error
}

// room is how many bytes stand free before a packet.
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

// lockNamespace makes the process the one decapsulator of its network namespace.
// Whoever cannot be one may hold the name without being in the way: then it does
// without.
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

// loop takes packets off a socket until reading fails.
func (d *decapsulator) loop(s *source) error {
	for {
		outers, err := s.read()
		if err != nil {
			return err
		}
		d.deliver(s, outers)
	}
}

// deliver unwraps packets and hands them on.
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

// inner unwraps one packet; nil if it is dropped.
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

// warnReversePath says why nothing would arrive: with strict reverse path
// filtering (the larger of "all" and the interface's value counts, ip-sysctl)
// the host drops packets whose answer would leave elsewhere.
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
