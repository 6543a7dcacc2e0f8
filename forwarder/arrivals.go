package forwarder

import (
	"context"
	"fmt"
	"iter"
	"net/netip"
	"sync/atomic"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
	"uvs/sched"
	"uvs/sched/sim"
)

// arrivals is the set of readers of what becomes of connections. Without readers it costs
// a look when a connection begins, changes what it counts as, or ends.
type arrivals struct{ readers[*arrivalReader] }

// arrivalReader receives changes of connections.
type arrivalReader struct {
	begun   bool // only of those that come, with or without a server
	changes chan connChange
	lost    atomic.Uint64
}

// connChange is a sim.Line before its addresses are written out.
type connChange struct {
	at         time.Duration
	do         sim.What
	proto      uint8
	wasActive  bool
	conn, with conntrack.Ref
	client     netip.AddrPort
	virtual    netip.AddrPort
	server     sched.ID
	service    config.Key // of Refused
}

// arrivalBacklog is how many changes wait for a slow reader before some are lost: those of
// some 0.1 s at 200,000 new connections a second.
const arrivalBacklog = 1 << 16

func (a *arrivals) watched() bool { return a.active.Load() != nil }

func (a *arrivals) publish(c connChange) {
	readers := a.active.Load()
	if readers == nil {
		return
	}
	for _, r := range *readers {
		if r.begun && c.do != sim.New && c.do != sim.Refused {
			continue
		}
		select {
		case r.changes <- c:
		default:
			r.lost.Add(1)
		}
	}
}

// start adds a reader for which so many changes wait; more are lost. It gets all changes, or
// only those of connections that begin.
func (a *arrivals) start(backlog int, begun bool) *arrivalReader {
	r := &arrivalReader{begun: begun, changes: make(chan connChange, backlog)}
	a.add(r)
	return r
}

// arrived tells readers of a new connection or template of a flow. Ref 0 is one that is
// never in the table.
func (fw *Forwarder) arrived(do sim.What, flow *frame.Flow, ref, with conntrack.Ref, server sched.ID) {
	if !fw.arrivals.watched() || fw.probesOnly(server) {
		return
	}
	fw.arrivals.publish(connChange{at: time.Since(fw.started), do: do, proto: flow.Proto(), conn: ref, with: with,
		client: flow.Source(), virtual: flow.Destination(), server: server})
}

// notTaken tells readers of a connection for which a service has no server.
func (fw *Forwarder) notTaken(flow *frame.Flow, svc *service.Service) {
	if !fw.arrivals.watched() {
		return
	}
	fw.arrivals.publish(connChange{at: time.Since(fw.started), do: sim.Refused, proto: flow.Proto(),
		client: flow.Source(), virtual: flow.Destination(), service: svc.Key})
}

// became tells readers what a connection counts as, or that it is gone.
func (fw *Forwarder) became(do sim.What, c *conntrack.Conn) {
	if !fw.arrivals.watched() || fw.probesOnly(c.Server) {
		return
	}
	if do == sim.Gone && c.Has(conntrack.Template) {
		do = sim.TemplateGone
	}
	fw.arrivals.publish(connChange{at: time.Since(fw.started), do: do, conn: fw.conns.Ref(c), server: c.Server,
		wasActive: do == sim.Gone && !c.Has(conntrack.Inactive)})
}

// Record yields what becomes of the connections to a service, until the context or the
// service ends. Connections are never held up for it: what is not read in time is lost,
// and a line says how many.
func (fw *Forwarder) Record(ctx context.Context, k config.Key) (iter.Seq[sim.Line], error) {
	svc := fw.Load().Service(k)
	if svc == nil {
		return nil, fmt.Errorf("%w: %v", config.ErrNoSuchService, k)
	}
	return func(yield func(sim.Line) bool) {
		r := fw.arrivals.start(arrivalBacklog, false)
		defer fw.arrivals.remove(r)
		l := &liveRecording{fw: fw, key: k, reader: r, began: time.Since(fw.started), yield: yield}
		l.run(ctx)
	}, nil
}

// liveRecording writes out the changes of the connections of a service.
type liveRecording struct {
	fw      *Forwarder
	key     config.Key
	reader  *arrivalReader
	began   time.Duration
	at      time.Duration // of the last line
	service *service.Service
	servers map[sched.ID]netip.AddrPort // all that it had
	yield   func(sim.Line) bool
}

// recordedEvery is the time between two looks at the servers' weights.
const recordedEvery = 100 * time.Millisecond

func (l *liveRecording) run(ctx context.Context) {
	if !l.look() {
		return
	}
	tick := time.NewTicker(recordedEvery)
	defer tick.Stop()
	for {
		more := true
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			more = l.look()
		case c := <-l.reader.changes:
			more = l.write(c)
		}
		if lost := l.reader.lost.Swap(0); more && lost > 0 {
			more = l.line(time.Since(l.fw.started), sim.Line{Do: sim.Lost, Lost: lost})
		}
		if !more {
			return
		}
	}
}

// look writes the service if it has changed. It reports false at the end of the recording.
func (l *liveRecording) look() bool {
	now := l.fw.Load().Service(l.key)
	if now == l.service || now == nil {
		return now != nil
	}
	do := sim.Servers
	if l.service == nil {
		do, l.servers = sim.Begin, map[sched.ID]netip.AddrPort{}
	}
	l.service = now
	s := &sim.Recorded{Name: l.key.String(), Scheduler: now.Scheduler, Flags: now.Flags}
	for _, server := range now.Servers {
		l.servers[server.ID] = server.Addr
		upper, lower := server.Thresholds()
		r := sim.RecordedServer{Address: server.Addr, Weight: server.Weight(), Upper: upper, Lower: lower}
		if do == sim.Begin {
			r.Active, r.Inactive = server.Active(), server.Inactive()
		}
		s.Servers = append(s.Servers, r)
	}
	return l.line(time.Since(l.fw.started), sim.Line{Do: do, Service: s})
}

// write writes a change, if it is one of the service's.
func (l *liveRecording) write(c connChange) bool {
	line := sim.Line{Do: c.do, Protocol: c.proto, Client: c.client, Virtual: c.virtual,
		Conn: uint32(c.conn), With: uint32(c.with), WasActive: c.wasActive}
	if c.do == sim.Refused {
		return c.service != l.key || l.line(c.at, line)
	}
	if _, ok := l.servers[c.server]; !ok && !l.look() { // a server that has just been added
		return false
	}
	addr, ok := l.servers[c.server]
	if !ok {
		return true
	}
	line.Server = addr
	return l.line(c.at, line)
}

// line writes a line. Changes of several workers come nearly in order.
func (l *liveRecording) line(at time.Duration, line sim.Line) bool {
	l.at = max(l.at, at-l.began)
	line.At = l.at.Seconds()
	return l.yield(line)
}
