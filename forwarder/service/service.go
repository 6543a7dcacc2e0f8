package service

import (
	"encoding/binary"
	"iter"
	"maps"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/sched"
)

// Service is a virtual service as one snapshot shows it. It never changes; an edit
// creates a new one with the same counters and, if the scheduler stays, the same
// scheduler.
type Service struct {
	config.Service
	Sched    sched.Scheduler
	Counters *Counters
	Offer    *Offer    // what its SYN proxy offers to clients
	Mask     [16]byte  // of the client's address under persistence, in the form of a Flow's
	Servers  []*Server // in the order of addition
	Probing  int       // probes under way besides those of its checks

	ref   *serviceRef
	seq   uint64 // order of addition
	draft uint64 // number of the draft it was created in, the only one that may change it
}

func (v *Service) state(now conntrack.Tick) config.ServiceState {
	state := config.ServiceState{
		Service: v.Service,
		Stats:   v.Counters.Stats(),
		Servers: make([]config.ServerState, len(v.Servers)),
	}
	for i, s := range v.Servers {
		state.Servers[i] = s.state(now)
	}
	return state
}

// ServersBegin reports whether datagrams of the service's real servers may start
// connections, as SIP's do (ip_vs_core.c, ip_vs_new_conn_out).
func (v *Service) ServersBegin() bool { return v.PE != "" && v.Mark == 0 && v.Port != 0 }

// Target is the key by which a packet is matched: destination address, port and
// protocol, or a mark (protocol 0, the mark in the address, the family in the port).
type Target struct {
	addr   [16]byte
	port   uint16
	proto  uint8
	mapped bool // an IPv4-mapped IPv6 address, which no packet on a wire has
}

func targetOf(k config.Key) Target {
	if k.Mark != 0 {
		return markTarget(k.Mark, k.Family)
	}
	return Target{addr: k.Addr.As16(), port: k.Port, proto: uint8(k.Proto), mapped: k.Addr.Is4In6()}
}

func markTarget(mark uint32, family config.Family) Target {
	t := Target{port: uint16(family)}
	binary.BigEndian.PutUint32(t.addr[12:], mark)
	return t
}

// Shards is the number of maps a snapshot consists of: a change copies one of
// them, so a director with 100,000 services takes it in some 10 µs.
const Shards = 256

func (t *Target) shard() int {
	h := uint32(t.addr[15]) + 31*uint32(t.addr[14]) + 131*uint32(t.addr[13]) + uint32(t.port) + uint32(t.port>>8)
	return int(h % Shards)
}

// Snapshot is the table of services at one moment. It never changes, so the
// workers read it without a lock.
type Snapshot struct {
	shard        [Shards]map[Target]*Service
	count        int
	ftp          int // TCP services on port 21
	any          int // services on port 0
	marks        int // services by mark
	ServersBegin int // services whose real servers may start connections

	version [Shards]uint64 // number of the draft that last changed each
}

// Ports with a meaning of their own in the match (ip_vs_ctl.c).
const (
	FTPDataPort       = 20
	FTPPort           = 21
	UnprivilegedPorts = 1024 // net.ipv4.ip_unprivileged_port_start
)

// Match returns the service for a packet with flow f and firewall mark mark,
// or nil. As in IPVS (ip_vs_ctl.c, ip_vs_service_find) a service by mark comes
// first, then the exact protocol, address and port, then the FTP service of the
// address for what may be its data connections (port 20 and the unprivileged
// ones), then the service on port 0 of the address.
//
// The caller must not schedule a connection to a service that is not persistent
// on a port other than the service's: the FTP rule may find such a one.
func (s *Snapshot) Match(f *frame.Flow, mark uint32) *Service {
	if mark != 0 && s.marks != 0 {
		if v := s.lookup(markTarget(mark, familyOf(f))); v != nil {
			return v
		}
	}
	t := Target{addr: f.Dst16(), port: f.DstPort(), proto: f.Proto()}
	if v := s.lookup(t); v != nil {
		return v
	}
	if s.ftp != 0 && t.proto == frame.ProtoTCP && (t.port == FTPDataPort || t.port >= UnprivilegedPorts) {
		t.port = FTPPort
		if v := s.lookup(t); v != nil {
			return v
		}
	}
	if s.any == 0 {
		return nil
	}
	t.port = 0
	return s.lookup(t)
}

func familyOf(f *frame.Flow) config.Family {
	if f.Is4() {
		return config.IPv4
	}
	return config.IPv6
}

func (s *Snapshot) lookup(t Target) *Service { return s.shard[t.shard()][t] }

// Service returns the service with the key k, or nil.
func (s *Snapshot) Service(k config.Key) *Service { return s.lookup(targetOf(k.Normal())) }

// Len returns the number of services.
func (s *Snapshot) Len() int { return s.count }

// All returns the services in no particular order.
func (s *Snapshot) All() iter.Seq[*Service] {
	return func(yield func(*Service) bool) {
		for _, shard := range s.shard {
			for _, v := range shard {
				if !yield(v) {
					return
				}
			}
		}
	}
}

// ChangedSince returns the services that are new or different from an earlier snapshot,
// and nil for those that were removed.
func (s *Snapshot) ChangedSince(old *Snapshot) iter.Seq2[Target, *Service] {
	return func(yield func(Target, *Service) bool) {
		for i := range s.shard {
			if s.version[i] == old.version[i] {
				continue
			}
			for t, v := range s.shard[i] {
				if old.shard[i][t] != v && !yield(t, v) {
					return
				}
			}
			for t := range old.shard[i] {
				if s.shard[i][t] == nil && !yield(t, nil) {
					return
				}
			}
		}
	}
}

// draft is a snapshot under construction. It copies a shard before the first change.
type draft struct {
	*Snapshot
	number uint64
	own    [Shards]bool
}

func newDraft(s *Snapshot, number uint64) *draft {
	c := *s
	return &draft{Snapshot: &c, number: number}
}

// set replaces the service with its key by v, or removes it if v is nil.
func (d *draft) set(k config.Key, v *Service) {
	t := targetOf(k)
	i := t.shard()
	if !d.own[i] {
		d.shard[i] = maps.Clone(d.shard[i])
		d.own[i] = true
	}
	if d.shard[i] == nil {
		d.shard[i] = map[Target]*Service{}
	}
	d.version[i] = d.number
	before := len(d.shard[i])
	if old := d.shard[i][t]; old != nil && old.ServersBegin() {
		d.ServersBegin--
	}
	if v != nil && v.ServersBegin() {
		d.ServersBegin++
	}
	if v == nil {
		delete(d.shard[i], t)
	} else {
		d.shard[i][t] = v
	}
	d.adjust(k, len(d.shard[i])-before)
}

// adjust adds n to the counts that tell Match what it can skip.
func (d *draft) adjust(k config.Key, n int) {
	d.count += n
	switch {
	case k.Mark != 0:
		d.marks += n
	case k.Port == FTPPort && k.Proto == config.TCP:
		d.ftp += n
	case k.Port == 0:
		d.any += n
	}
}
