package forwarder

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/connsync"
	"uvs/forwarder/syncnet"
)

const (
	// syncStep is how often a master looks for what workers have for it.
	syncStep = 10 * time.Millisecond
	// syncDelay is how long an entry may wait for others to fill its datagram. The kernel
	// waits for 2 s.
	syncDelay = 200 * time.Millisecond
	// beaconEvery is how often a master says what it has sent.
	beaconEvery = time.Second
)

// syncMaster is a master daemon that runs. Workers give it entries, and one goroutine
// sends them.
type syncMaster struct {
	sync   *synchronization
	daemon config.Daemon
	ports  []masterPort
	wants  syncnet.Conn // where backups ask for all; nil: the socket is not open
	sender uint64       // a random number
	link   *syncLink

	entries uint64          // that were sent and are not counted yet
	marks   []atomic.Uint64 // by Ref
	full    chan struct{}   // asks for all entries to be sent
	bulk    bulk

	ending <-chan struct{} // closed when the daemon is to end; nil before it runs
	failed error           // of the last write, if that broke its socket

	mu     sync.Mutex
	rings  []*syncRing
	looked time.Time // when it last took all that was in the rings
	partly int       // datagrams that had room then
	since  time.Time // when the first entry in them came
}

// masterPort is where a part of the connections is sent to.
type masterPort struct {
	conn   syncnet.Conn // nil: not open
	writer connsync.Writer
	signer *connsync.Signer
	since  time.Time // when the first entry came that waits
	sent   uint64    // datagrams with entries
}

func (s *synchronization) newMaster(d config.Daemon) *syncMaster {
	p := s.fw.sysctl.Load()
	m := &syncMaster{
		sync: s, daemon: d, sender: rand.Uint64(),
		ports: make([]masterPort, p.SyncPorts), marks: make([]atomic.Uint64, s.fw.conns.Capacity()+1),
		full: make(chan struct{}, 1), link: &syncLink{log: s.fw.log, daemon: d},
		looked: time.Now(), // there was nothing before
	}
	for i := range m.ports {
		w := &m.ports[i].writer
		w.SyncID, w.MaxLen = d.SyncID, int(d.MaxLen)
		if key := s.conf.Key; key != nil {
			m.ports[i].signer = connsync.NewSigner(portKey(key, i), m.sender)
			w.MaxLen -= connsync.SignatureLen
		}
	}
	return m
}

// portKey returns the key for one of the ports: what is sent to one cannot be repeated to
// another.
func portKey(key []byte, port int) []byte {
	return binary.BigEndian.AppendUint16(slices.Clone(key), uint16(port))
}

// portOf returns the port of an entry: always the same, so that what is said about it
// stays in order.
func (m *syncMaster) portOf(ref conntrack.Ref) uint8 { return uint8(int(ref) & (len(m.ports) - 1)) }

// ring returns a new ring, from which the master takes.
func (m *syncMaster) ring() *syncRing {
	r := newSyncRing(int(min(int64(m.sync.fw.sysctl.Load().SyncQlenMax)*int64(m.daemon.MaxLen), maxRing)), &m.sync.count.lost)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rings = append(m.rings, r)
	return r
}

func (m *syncMaster) group(port int) syncnet.Group {
	return syncnet.Group{Interface: m.daemon.Interface, TTL: m.daemon.TTL, Buffer: int(m.sync.fw.sysctl.Load().SyncSockSize),
		Addr: netip.AddrPortFrom(m.daemon.Group, m.daemon.Port+uint16(port))}
}

// open opens the sockets that are not open.
func (m *syncMaster) open() error {
	for i := range m.ports {
		p := &m.ports[i]
		if p.conn != nil {
			continue
		}
		c, err := m.sync.net.Sender(m.group(i))
		if err != nil {
			return err
		}
		p.conn = c
	}
	if m.wants != nil {
		return nil
	}
	c, err := m.sync.net.Receiver(m.group(0))
	if err != nil {
		return err
	}
	m.wants = c
	go m.hear(c)
	return nil
}

// close closes the sockets.
func (m *syncMaster) close() {
	for i := range m.ports {
		if c := m.ports[i].conn; c != nil {
			c.Close()
			m.ports[i].conn = nil
		}
	}
	if m.wants != nil {
		m.wants.Close()
		m.wants = nil
	}
}

// run sends until the context ends, and then what waits.
func (m *syncMaster) run(ctx context.Context) {
	step := time.NewTicker(syncStep)
	defer step.Stop()
	beacon := time.NewTicker(beaconEvery)
	defer beacon.Stop()
	defer m.close()
	m.bulk.reader = m.sync.fw.conns.Reader()
	defer m.bulk.reader.Close()
	m.ending = ctx.Done()
	m.beacon()
	for {
		select {
		case <-ctx.Done():
			m.send(0)
			return
		case <-m.full:
			m.bulk.begin(m)
		case <-step.C:
			m.send(syncDelay)
			m.bulk.step(m)
		case <-beacon.C:
			m.reopen()
			m.beacon()
		}
	}
}

// reopen opens sockets anew after their interface or its address has gone, or they have
// failed. Only once it has sent again, a failure is over.
func (m *syncMaster) reopen() {
	if c := m.ports[0].conn; c != nil && c.Stale() {
		m.close()
	}
	err := m.open()
	if err == nil {
		err = m.failed
	}
	m.link.report(err)
}

// send sends what workers have given, except for datagrams that have room and whose
// first entry has not waited for the delay.
func (m *syncMaster) send(delay time.Duration) {
	m.mu.Lock()
	rings := slices.Clone(m.rings)
	m.rings = slices.DeleteFunc(m.rings, func(r *syncRing) bool { return r.done.Load() })
	m.looked = time.Now()
	m.mu.Unlock()
	for _, r := range rings {
		r.take(m.add)
	}
	m.sync.count.entriesSent.Add(m.entries)
	m.entries = 0
	for i := range m.ports {
		if p := &m.ports[i]; p.writer.Count() > 0 && time.Since(p.since) >= delay {
			m.flush(p)
		}
	}
	m.noteOpen()
}

// noteOpen notes which datagrams wait for more entries.
func (m *syncMaster) noteOpen() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.partly = 0
	for i := range m.ports {
		if p := &m.ports[i]; p.writer.Count() > 0 {
			if m.partly++; m.partly == 1 || p.since.Before(m.since) {
				m.since = p.since
			}
		}
	}
}

// queue returns how many datagrams what is still to be sent would fill, and how long the
// first of it has waited at most.
func (m *syncMaster) queue() (datagrams int, lag time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	bytes := 0
	for _, r := range m.rings {
		bytes += r.waiting()
	}
	datagrams = m.partly + (bytes+int(m.daemon.MaxLen)-1)/int(m.daemon.MaxLen)
	switch {
	case m.partly > 0:
		lag = time.Since(m.since)
	case bytes > 0:
		lag = time.Since(m.looked)
	}
	return datagrams, lag
}

// add adds an entry to the datagram of its port.
func (m *syncMaster) add(entry []byte, port, version uint8) {
	p := &m.ports[port]
	if p.writer.Version != version {
		m.flush(p)
		p.writer.Version = version
	}
	if p.writer.Count() == 0 {
		p.since = time.Now()
	}
	if !p.writer.Add(entry) {
		m.flush(p)
		p.writer.Add(entry)
		p.since = time.Now()
	}
	m.entries++
}

// flush sends the datagram of a port.
func (m *syncMaster) flush(p *masterPort) {
	if p.writer.Count() == 0 {
		return
	}
	p.sent++
	m.write(p, p.writer.Datagram())
}

// write sends a datagram, signed if there is a key.
func (m *syncMaster) write(p *masterPort, b []byte) {
	if p.signer != nil {
		b = p.signer.Sign(b, sinceEpoch())
	}
	if p.conn == nil {
		m.sync.count.sendFailed.Add(1)
		return
	}
	err := m.writeAgain(p.conn, b)
	if err == nil {
		m.failed = nil
		m.sync.count.sent.Add(1)
		return
	}
	m.sync.count.sendFailed.Add(1)
	if !busy(err) {
		m.failed = err
		m.link.report(err)
	}
	if !busy(err) || m.ends() {
		p.conn.Close()
		p.conn = nil
	}
}

// writeTime is how long one try to send may take.
const writeTime = 10 * time.Millisecond

// writeAgain sends a datagram, and tries again for some milliseconds where the
// interface's queue is full, unless the daemon is to end.
func (m *syncMaster) writeAgain(c syncnet.Conn, b []byte) (err error) {
	const tries = 20
	for range tries {
		_ = c.SetWriteDeadline(time.Now().Add(writeTime))
		if _, err = c.Write(b); err == nil || !busy(err) || m.ends() {
			return err
		}
		time.Sleep(time.Millisecond)
	}
	return err
}

// busy reports whether a write failed only because the interface's queue is full.
func busy(err error) bool {
	return errors.Is(err, syscall.ENOBUFS) || errors.Is(err, os.ErrDeadlineExceeded)
}

// ends reports whether the daemon is to end.
func (m *syncMaster) ends() bool {
	select {
	case <-m.ending:
		return true
	default:
		return false
	}
}

// sinceEpoch returns the time since 1970, which two directors have in common.
func sinceEpoch() time.Duration {
	return time.Since(time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC))
}

// beacon says what was sent, so that backups notice what they have missed.
func (m *syncMaster) beacon() {
	for i := range m.ports {
		p := &m.ports[i]
		n := connsync.Beacon{Kind: connsync.Have, Sender: m.sender, Sent: p.sent, Conns: uint32(m.sync.fw.conns.Len())}
		m.write(p, n.Append(nil, m.daemon.SyncID))
	}
}

// hear listens for backups that ask for all entries.
func (m *syncMaster) hear(c syncnet.Conn) {
	var verifier *connsync.Verifier
	if key := m.sync.conf.Key; key != nil {
		verifier = connsync.NewVerifier(portKey(key, wantsPort))
	}
	b := make([]byte, m.daemon.MaxLen)
	for {
		n, _, err := c.Read(b)
		if err != nil {
			return
		}
		msg := b[:n]
		if verifier != nil {
			var r connsync.Refusal
			if msg, r = verifier.Check(msg, sinceEpoch()); r != connsync.Taken {
				continue
			}
		}
		h, r := connsync.Parse(msg)
		if r != connsync.Taken || h.SyncID != m.daemon.SyncID {
			continue
		}
		if n, ok := h.Beacon(); ok && n.Kind == connsync.Want && n.Sender == m.sender {
			m.sendAll()
		}
	}
}

// wantsPort stands in keys for what backups say.
const wantsPort = 1 << 15

// sendAll has all entries sent, once more if they are being sent already.
func (m *syncMaster) sendAll() {
	select {
	case m.full <- struct{}{}:
	default:
	}
}
