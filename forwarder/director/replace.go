package director

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder"
	"uvs/forwarder/afpacket"
	"uvs/forwarder/guard"
	"uvs/forwarder/neigh"
	"uvs/internal/control"
	"uvs/internal/fdstore"
	"uvs/internal/peer"
	"uvs/internal/rulesfile"
)

// How one director replaces another. Both are whole directors; at any moment at most one of
// them works. What arrives while none does waits in the rings.
//
//	new: starts, checks all that can be wrong, connects     old: works
//	new: take                                           →   old: answers who has asked, finishes its batches, ends
//	new: gets the descriptors                           ←   old: given, and its descriptors
//	new: works, says serving                            →
//	                                                    ←   old: done, and exits
//
// If the new one ends before it says that it serves, the old one starts again, as after a kill.

// message is what they say, in JSON.
type message struct {
	Do         string `json:"do"`                   // one of the words below
	Supervised bool   `json:"supervised,omitempty"` // take: it has a service manager of its own
	Manager    string `json:"manager,omitempty"`    // given: the service manager of the old one
	State      string `json:"state,omitempty"`      // given: where the old one has its state
	Why        string `json:"why,omitempty"`        // failed
}

const (
	doTake    = "take"
	doGiven   = "given"
	doServing = "serving"
	doDone    = "done"
	doFailed  = "failed"
)

// ErrNotReplaced is wrapped by the error of Run if a director that was to take this one's place
// failed. New with the same Config then goes on where this one was.
var ErrNotReplaced = errors.New("the director that was to replace this one failed")

// beginTime is how long the new director may take from take to serving, and the old one to
// hand over. It is killed if it takes longer.
const beginTime = 30 * time.Second

// successor is the director that takes this one's place.
type successor struct {
	conn       *net.UnixConn
	talk       *fdstore.Handover
	pid        int // 0: unknown
	supervised bool
}

func (*successor) Error() string { return "another director takes over" }

// meet waits until the process at the other end is ready to take this director's place, and
// ends Run for it.
func (d *Director) meet(c *net.UnixConn) {
	s := &successor{conn: c, talk: fdstore.NewHandover(c)}
	if who, err := peer.Of(c); err == nil {
		s.pid = who.PID
	}
	var m message
	if err := s.talk.Receive(&m); err != nil || m.Do != doTake {
		_ = s.talk.Close() // it has found that it cannot
		return
	}
	switch {
	case s.pid == 0: // it could not be ended if it hangs
		s.refuse("it is in another PID namespace than the director that runs")
		return
	case d.replaced.Swap(true):
		s.refuse("another director is about to take over")
		return
	}
	s.supervised = m.Supervised
	d.conf.Log.Info("another director takes over", "event", "take-over", "pid", s.pid)
	d.leaveAPI()
	d.endFor(s)
}

func (s *successor) refuse(why string) {
	_ = s.talk.Send(message{Do: doFailed, Why: why})
	_ = s.talk.Close()
}

// handOver gives all to the successor and waits until that works.
func (d *Director) handOver(s *successor) error {
	defer s.talk.Close()
	given := message{Do: doGiven, Manager: d.conf.Store.Manager()}
	if d.state != nil {
		given.State = d.state.Where()
	}
	d.closed.Do(d.leave)
	err := s.give(given, d.conf.Store)
	if err == nil && s.ended() {
		err = errors.New("it has ended")
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotReplaced, err)
	}
	word := "STOPPING=1"
	if !s.supervised {
		word = fmt.Sprint("MAINPID=", s.pid)
	}
	if err := d.conf.Store.Notify(word); err != nil {
		d.conf.Log.Warn(err.Error())
	}
	_ = s.talk.Send(message{Do: doDone})
	d.conf.Log.Info("replaced", "event", "replaced", "by", s.pid)
	return nil
}

// give sends the descriptors and returns nil once the successor works.
func (s *successor) give(given message, store *fdstore.Store) error {
	_ = s.conn.SetDeadline(time.Now().Add(beginTime))
	err := s.talk.Send(given)
	if err == nil {
		err = s.talk.SendStore(store)
	}
	var m message
	if err == nil {
		err = s.talk.Receive(&m)
	}
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return s.kill()
	case err != nil:
		return fmt.Errorf("it ended: %w", err)
	case m.Do != doServing:
		return fmt.Errorf("it says: %s", m.Why)
	}
	return nil
}

// ended reports whether the successor has ended although it said that it serves.
func (s *successor) ended() bool {
	raw, err := s.conn.SyscallConn()
	if err != nil {
		return false
	}
	n := -1
	cerr := raw.Control(func(fd uintptr) {
		n, _, err = unix.Recvfrom(int(fd), make([]byte, 1), unix.MSG_PEEK|unix.MSG_DONTWAIT)
	})
	return cerr == nil && (n == 0 && err == nil || errors.Is(err, unix.ECONNRESET))
}

// endTime is how long a killed successor may take to end. The lease of the state tells if it
// has not: this director cannot go on then.
const endTime = 10 * time.Second

// kill ends a successor that hangs: it must not begin to work some time later.
func (s *successor) kill() error {
	if s.pid > 0 && s.pid != os.Getpid() {
		_ = unix.Kill(s.pid, unix.SIGKILL)
	}
	_ = s.conn.SetDeadline(time.Now().Add(endTime))
	_, _ = io.Copy(io.Discard, s.conn) // until its end
	return fmt.Errorf("it did not begin within %v", beginTime)
}

// predecessor is the director that this one replaces.
type predecessor struct {
	conn    *net.UnixConn
	talk    *fdstore.Handover
	manager string
	state   string
}

// takeOver takes over from the director of this network namespace, if there is one: it gets
// its descriptors, and nobody works from then on.
func (d *Director) takeOver(ctx context.Context) error {
	c := &d.conf
	if c.Store == nil {
		c.Store = fdstore.New()
	}
	if len(c.Store.Names("")) > 0 {
		return nil // started again after it took over
	}
	address, err := c.running()
	if address == "" || err != nil {
		return err
	}
	conn, err := control.Replace(ctx, address)
	if err != nil {
		return err
	}
	if err := d.check(ctx); err != nil {
		conn.Close()
		return err
	}
	p := &predecessor{conn: conn, talk: fdstore.NewHandover(conn)}
	d.before.Store(p)
	_ = conn.SetDeadline(time.Now().Add(beginTime))
	var m message
	err = p.talk.Send(message{Do: doTake, Supervised: c.Store.Supervised()})
	if err == nil {
		err = p.talk.Receive(&m)
	}
	if err == nil && m.Do != doGiven {
		err = errors.New(m.Why)
	}
	if err == nil {
		_ = conn.SetDeadline(time.Now().Add(beginTime)) // the old one's began before
		p.manager, p.state = m.Manager, m.State
		err = p.talk.ReceiveStore(c.Store)
	}
	if err != nil {
		return fmt.Errorf("director: take over from %s: %w", address, err)
	}
	return nil
}

// running returns the control socket of the director that works here, or "".
func (c *Config) running() (address string, err error) {
	if c.Neighbours != nil { // no other sees it
		return c.Socket, nil
	}
	var names []string
	for _, i := range control.Introductions() {
		if i.Socket == c.Socket {
			return i.Socket, nil
		}
		names = append(names, i.Socket)
	}
	switch len(names) {
	case 0:
		return "", nil
	case 1:
		return names[0], nil
	}
	return "", fmt.Errorf("director: several directors work in this network namespace; which one is to be replaced? Choose its --socket: %s", strings.Join(names, ", "))
}

// check finds what would keep this director from working while the other still does.
func (d *Director) check(ctx context.Context) error {
	c := &d.conf
	scratch, err := forwarder.New(forwarder.Config{Neighbours: &neigh.Static{}, MaxConns: 1 << 10, LocalPorts: c.LocalPorts, TOA: c.TOA})
	if err != nil {
		return err
	}
	defer scratch.Close()
	rules := rulesfile.File{Path: c.Rules, Log: slog.New(slog.DiscardHandler)}
	if err := rules.Load(ctx, control.NewLocal(scratch)); err != nil {
		return err
	}
	if c.Driver != nil || c.IO == "socket" {
		return nil
	}
	p, err := afpacket.Driver{Log: slog.New(slog.DiscardHandler)}.Sender(neigh.Link{})
	if err != nil {
		return explain(err)
	}
	return p.Close()
}

// begun is called when this director works: the one before is no longer needed. The error is
// that it was too late for that.
func (d *Director) begun(ctx context.Context) error {
	if d.guard != nil {
		d.guard.Keep()
	}
	if p := d.before.Load(); p != nil {
		err := p.talk.Send(message{Do: doServing})
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return fmt.Errorf("director: it took longer than %v to begin: %w", beginTime, err)
		}
		d.before.Store(nil)
		if err := errors.Join(d.state.Confirm(), err, p.dismiss(d.conf.Store)); err != nil {
			d.conf.Log.Warn("the director before has ended on its own", "event", "predecessor-ended", "err", err)
		}
		if d.state.Adopted() {
			d.followLater(ctx)
		}
	}
	spare := guard.KeptPrefix // that of the director before, until this one's is kept in its place
	if d.conf.NoGuard {
		spare = ""
	}
	if names := d.conf.Store.ForgetUnused(spare); len(names) > 0 {
		d.conf.Log.Info("not needed of what was kept", "names", strings.Join(names, " "))
	}
	return nil
}

// dismiss waits until the director before needs nothing any longer, and takes over its service
// manager.
func (p *predecessor) dismiss(store *fdstore.Store) error {
	defer p.talk.Close()
	var m message
	err := p.talk.Receive(&m)
	if !store.Supervised() {
		err = errors.Join(err, store.Attach(p.manager))
	}
	return err
}

// giveUp ends a director that could not be opened. One that was to replace another leaves all
// to that.
func (d *Director) giveUp(why error) {
	p := d.before.Swap(nil)
	if p == nil {
		d.Close()
		return
	}
	d.closed.Do(d.leave)
	d.conf.Store.Close()
	_ = p.talk.Send(message{Do: doFailed, Why: why.Error()})
	_ = p.talk.Close()
}

// leave ends the director and leaves what it has to the next.
func (d *Director) leave() {
	d.leaveAPI()
	d.endUse()
	d.closeEngine()
	if d.ran {
		d.keepNeighbours()
	}
	if err := d.state.Close(); err != nil {
		d.conf.Log.Warn("state", "err", err)
	}
	if d.guard != nil {
		_ = d.guard.Leave()
	}
}

// leaveAPI ends the control API once those have their answers who have asked. Who connects
// from now on waits for the next director.
func (d *Director) leaveAPI() {
	if d.listener != nil {
		_ = d.listener.Leave()
	}
	if d.scraped != nil {
		d.scraped.Leave()
	}
	if d.server != nil {
		_ = d.server.Drain()
	}
}
