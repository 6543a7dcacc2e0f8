package service

import (
	"fmt"
	"sync/atomic"

	"uvs/forwarder/config"
	"uvs/forwarder/state"
)

// SetSynProxy switches the SYN proxy of a service on or off. Connections that it has
// begun go on. What its servers take is learned anew when it is switched on. It may fail with ErrNoSuchService, ErrInvalid if the service is not TCP's,
// or ErrSynProxy if the replies of one of its servers do not pass the director.
func (s *Table) SetSynProxy(k config.Key, on bool) error {
	return s.change(func() error { return s.setSynProxy(k, on) })
}

func (s *Table) setSynProxy(k config.Key, on bool) error {
	v, err := s.service(k)
	if err != nil {
		return err
	}
	if on {
		if err := v.Key.TakesSynProxy(); err != nil {
			return err
		}
		for _, server := range v.Servers {
			if err := underSynProxy(server.Options()); err != nil {
				return err
			}
		}
	}
	if on && !v.SynProxy {
		v.Offer.forget()
	}
	s.editable(v).SynProxy = on
	return nil
}

// underSynProxy reports a server that a service with a SYN proxy cannot have: its
// replies bypass the director, which then cannot translate their sequence numbers.
func underSynProxy(c *config.Server) error {
	if c.Method.Translates() {
		return nil
	}
	return fmt.Errorf("%s is by %s: %w", c.AddrPort(), c.Method.Traits().Word, config.ErrSynProxy)
}

// Offer is what a SYN proxy offers to clients in the place of the servers of a service:
// what all of them have taken so far. All methods are safe for concurrent use; the zero
// value offers everything.
type Offer struct {
	mss   atomic.Uint32 // the least that a server announced; 0: none has
	lacks atomic.Uint32
	kept  *state.Slot // where the next process finds both; nil: nowhere
}

// keepIn goes on from what a Slot has of an offer, and keeps it there.
func (o *Offer) keepIn(at *state.Slot) {
	o.mss.Store(uint32(at[slotMSS]))
	o.lacks.Store(uint32(at[slotLacks]))
	o.kept = at
}

// What servers may lack.
const (
	LacksScale  = 1 << iota // scaled windows
	LacksSACK               // selective acknowledgements
	LacksStamps             // time stamps
)

// Learn takes note of a server's MSS in bytes, and of what it did not take of what it
// was offered.
func (o *Offer) Learn(mss uint16, lacks uint32) {
	for {
		least := o.mss.Load()
		if least != 0 && least <= uint32(mss) || o.mss.CompareAndSwap(least, uint32(mss)) {
			break
		}
	}
	if lacks&^o.lacks.Load() != 0 {
		o.lacks.Or(lacks)
	}
	o.keep()
}

// forget makes the offer one of everything.
func (o *Offer) forget() {
	o.mss.Store(0)
	o.lacks.Store(0)
	o.keep()
}

// keep stores the offer for the next process.
func (o *Offer) keep() {
	if o.kept != nil {
		atomic.StoreUint64(&o.kept[slotMSS], uint64(o.mss.Load()))
		atomic.StoreUint64(&o.kept[slotLacks], uint64(o.lacks.Load()))
	}
}

// MSS returns the MSS to announce where the path would allow the given one.
func (o *Offer) MSS(path uint16) uint16 {
	if least := o.mss.Load(); least != 0 {
		return uint16(min(uint32(path), least))
	}
	return path
}

// Lacks reports whether a server did not take what is asked for.
func (o *Offer) Lacks(what uint32) bool { return o.lacks.Load()&what != 0 }

// Offer returns the offer of the server's service, nil if the server was removed.
func (s *Server) Offer() *Offer {
	if h := s.service.Load(); h != nil {
		return &h.Offer
	}
	return nil
}
