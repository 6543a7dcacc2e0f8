package forwarder

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"uvs/forwarder/config"
	"uvs/forwarder/connsync"
	"uvs/forwarder/syncnet"
)

// syncBackup is a backup daemon that runs: one goroutine for each port.
type syncBackup struct {
	sync   *synchronization
	daemon config.Daemon
	ports  []backupPort
	link   *syncLink
}

// backupPort receives from one port. All but ask belongs to the goroutine that reads.
type backupPort struct {
	backup   *syncBackup
	number   int
	conn     syncnet.Conn
	taker    syncTaker
	verifier *connsync.Verifier // nil: there is no key
	masters  map[netip.Addr]*heardMaster
	buf      []byte
	entry    connsync.Entry

	asker  syncnet.Conn // nil: not open
	signer *connsync.Signer
}

// heardMaster is what a port knows of a master of this director's kind.
type heardMaster struct {
	sender   uint64
	sent     uint64 // datagrams with entries, by its last beacon
	received uint64 // since then
	at       time.Time
}

// maxMasters bounds how many a port knows of.
const maxMasters = 64

func (s *synchronization) newBackup(d config.Daemon) *syncBackup {
	s.prepareCopies()
	b := &syncBackup{sync: s, daemon: d, ports: make([]backupPort, s.fw.sysctl.Load().SyncPorts),
		link: &syncLink{log: s.fw.log, daemon: d}}
	for i := range b.ports {
		p := &b.ports[i]
		p.backup, p.number, p.masters = b, i, map[netip.Addr]*heardMaster{}
		p.buf = make([]byte, int(d.MaxLen)+connsync.SignatureLen)
		p.taker = syncTaker{fw: s.fw, trust: s.conf.trust()}
		if key := s.conf.Key; key != nil {
			p.verifier = connsync.NewVerifier(portKey(key, i))
			p.signer = connsync.NewSigner(portKey(key, wantsPort), s.id)
		}
	}
	return b
}

// open opens the sockets that are not open.
func (b *syncBackup) open() error {
	for i := range b.ports {
		if p := &b.ports[i]; p.conn == nil {
			c, err := b.sync.net.Receiver(p.group())
			if err != nil {
				return err
			}
			p.conn = c
		}
	}
	return nil
}

func (p *backupPort) group() syncnet.Group {
	d := &p.backup.daemon
	return syncnet.Group{Interface: d.Interface, TTL: d.TTL, Buffer: int(p.backup.sync.fw.sysctl.Load().SyncSockSize),
		Addr: netip.AddrPortFrom(d.Group, d.Port+uint16(p.number))}
}

// run receives until the context ends.
func (b *syncBackup) run(ctx context.Context) {
	var wg sync.WaitGroup
	for i := range b.ports {
		wg.Go(func() { b.ports[i].run(ctx) })
	}
	wg.Wait()
}

func (p *backupPort) run(ctx context.Context) {
	p.taker.reader = p.backup.sync.fw.conns.Reader()
	defer p.taker.reader.Close()
	defer func() { p.close() }()
	for ctx.Err() == nil {
		if p.conn == nil {
			select {
			case <-ctx.Done():
				return
			case <-time.After(beaconEvery):
			}
			c, err := p.backup.sync.net.Receiver(p.group())
			if p.number == 0 {
				p.backup.link.report(err)
			}
			if err != nil {
				continue
			}
			p.conn = c
		}
		p.receive(ctx)
	}
}

func (p *backupPort) close() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
	if p.asker != nil {
		p.asker.Close()
		p.asker = nil
	}
}

// receive takes datagrams until the context ends or the interface is gone.
func (p *backupPort) receive(ctx context.Context) {
	conn := p.conn
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Now()) })
	defer stop()
	for ctx.Err() == nil {
		_ = p.conn.SetReadDeadline(time.Now().Add(beaconEvery))
		if ctx.Err() != nil {
			return
		}
		n, from, err := p.conn.Read(p.buf)
		switch {
		case err == nil:
			p.datagram(p.buf[:n], from)
		case !errors.Is(err, os.ErrDeadlineExceeded) || p.conn.Stale():
			p.close()
			return
		}
	}
}

// datagram takes the entries of one datagram.
func (p *backupPort) datagram(b []byte, from netip.Addr) {
	s := p.backup.sync
	s.count.received.Add(1)
	if !s.conf.accepts(from) {
		s.count.refuse(connsync.Source)
		return
	}
	if p.verifier != nil {
		signed := b
		var r connsync.Refusal
		if b, r = p.verifier.Check(signed, sinceEpoch()); r == connsync.Taken {
			if m := s.master.Load(); m != nil && m.sender == connsync.SenderOf(signed) {
				r = connsync.Replayed // somebody returns what this director sent
			}
		}
		if r != connsync.Taken {
			s.count.refuse(r)
			return
		}
	}
	m, r := connsync.Parse(b)
	if r == connsync.Taken && p.backup.daemon.SyncID != 0 && m.SyncID != p.backup.daemon.SyncID {
		r = connsync.OtherID
	}
	if r != connsync.Taken {
		s.count.refuse(r)
		return
	}
	if n, ok := m.Beacon(); ok {
		p.beacon(n, from, m.SyncID)
		return
	}
	if h := p.masters[from]; h != nil {
		h.received++
	}
	p.entries(&m)
}

func (p *backupPort) entries(m *connsync.Message) {
	s := p.backup.sync
	p.taker.begin()
	defer p.taker.end()
	for {
		r, ok := m.Next(&p.entry)
		if !ok {
			return
		}
		if r == connsync.Taken {
			r = p.taker.take(&p.entry)
		}
		if r != connsync.Taken {
			s.count.refuse(r)
			continue
		}
		s.count.entriesTaken.Add(1)
	}
}

// beacon compares what a master has sent with what came. A master that is new here, or
// of which something is missing, is asked for all it has.
func (p *backupPort) beacon(n connsync.Beacon, from netip.Addr, syncID uint8) {
	if n.Kind != connsync.Have {
		return
	}
	h := p.masters[from]
	if h == nil {
		if len(p.masters) == maxMasters {
			p.forgetOne()
		}
		h = &heardMaster{}
		p.masters[from] = h
	}
	fresh := h.sender != n.Sender
	missed := !fresh && n.Sent-h.sent > h.received
	*h = heardMaster{sender: n.Sender, sent: n.Sent, at: time.Now()}
	if missed {
		p.backup.sync.count.missed.Add(1)
	}
	if missed || fresh && n.Conns > 0 {
		p.ask(n.Sender, syncID)
	}
}

// forgetOne forgets the master whose last beacon is the oldest.
func (p *backupPort) forgetOne() {
	var oldest netip.Addr
	for a, h := range p.masters {
		if !oldest.IsValid() || h.at.Before(p.masters[oldest].at) {
			oldest = a
		}
	}
	delete(p.masters, oldest)
}

// ask asks a master for all its entries.
func (p *backupPort) ask(master uint64, syncID uint8) {
	if p.asker == nil {
		g := p.group()
		g.Addr = netip.AddrPortFrom(g.Addr.Addr(), p.backup.daemon.Port)
		c, err := p.backup.sync.net.Sender(g)
		if err != nil {
			return
		}
		p.asker = c
	}
	n := connsync.Beacon{Kind: connsync.Want, Sender: master}
	b := n.Append(nil, syncID)
	if p.signer != nil {
		b = p.signer.Sign(b, sinceEpoch())
	}
	_ = p.asker.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := p.asker.Write(b)
	switch {
	case err == nil:
		p.backup.sync.count.asked.Add(1)
	case !busy(err) || p.asker.Stale():
		p.asker.Close()
		p.asker = nil
	}
}

// accepts reports whether the list of sources has an address, or is empty.
func (c *SyncConfig) accepts(from netip.Addr) bool {
	return len(c.Sources) == 0 || slices.ContainsFunc(c.Sources, func(p netip.Prefix) bool { return p.Contains(from) })
}
