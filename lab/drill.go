package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"uvs/forwarder/config"
)

// DrillOptions vary a Drill. The zero value is that of `uvs lab run ha`.
type DrillOptions struct {
	Conns int   // long connections; 200 if 0
	Bytes int64 // of the download; 200 MB if 0
	// Silence is how long no connection may be answered; a second if 0.
	Silence time.Duration
}

// takeOverWithin is how long the drill waits for a director to take over, and for one that is
// back to know the connections.
const takeOverWithin = 30 * time.Second

// drillStep is something that happens to one of two directors.
type drillStep struct {
	what string
	do   func(active, passive string) error
	to   string // who is active afterwards; empty: who was
}

// ErrSilent is that of a drill in which nothing broke, but took too long.
var ErrSilent = errors.New("no connection was answered")

// Drill breaks the directors of a lab with two, one after the other and in every way, while a
// client downloads and 200 connections ask for pages. It writes for how long none of these was
// answered each time. It fails if a connection breaks, the download is not what was sent, or,
// with ErrSilent, if that took longer than a second.
func Drill(l *Lab, w io.Writer, o DrillOptions) error {
	if o.Conns == 0 {
		o.Conns = 200
	}
	if o.Bytes == 0 {
		o.Bytes = 200 << 20
	}
	if o.Silence == 0 {
		o.Silence = time.Second
	}
	who, err := l.awaitActive(active, standby)
	if err != nil {
		return err
	}
	t, err := startTraffic(l, o.Conns, o.Bytes)
	if err != nil {
		return err
	}
	defer t.end()
	d := &drill{lab: l, traffic: t, out: w, conns: o.Conns + 1, active: who}
	if err := d.awaitSync(); err != nil {
		return err
	}
	fmt.Fprintf(w, "a download and %d connections to %s; %s is active\n\n", o.Conns, l.Topology.URL("/"), who)
	fmt.Fprintf(w, "%-54s %-9s %16s  %s\n", "WHAT HAPPENS", "ACTIVE", "WITHOUT TRAFFIC", "CONNECTIONS")
	for _, s := range d.steps() {
		if err := d.step(s); err != nil {
			return err
		}
	}
	if err := t.finish(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nthe download came whole: %d MB; no connection broke; the longest silence was %.2f s\n", o.Bytes>>20, d.worst.Seconds())
	if d.worst > o.Silence {
		return fmt.Errorf("lab: %w for %.2f s, which is more than %v", ErrSilent, d.worst.Seconds(), o.Silence)
	}
	return nil
}

type drill struct {
	lab     *Lab
	traffic *traffic
	out     io.Writer
	conns   int
	active  string
	worst   time.Duration
}

// other returns the director that is not the one named.
func other(name string) string {
	if name == active {
		return standby
	}
	return active
}

// steps returns what happens. The director "director" has a keeper, "standby" has none. Either
// may be active at first.
func (d *drill) steps() []drillStep {
	l := d.lab
	kill := func(node, _ string) error { return l.Crash(node, "director") }
	kept := []drillStep{
		{what: "director: its process is killed, its keeper starts it", do: kill, to: active},
		{what: "director: its node fails", do: func(node, _ string) error { return l.Fail(node) }, to: standby},
		{what: "director: its node is back", do: func(_, node string) error { return l.Return(node) }, to: standby},
	}
	alone := []drillStep{
		{what: "standby: its process is killed, it has no keeper", do: kill, to: active},
		{what: "standby: its process is started", do: func(_, node string) error { return l.StartServices(node) }, to: active},
	}
	steps, last := slices.Concat(kept, alone), active
	if d.active == standby {
		steps, last = slices.Concat(alone, kept), standby
	}
	return append(steps,
		drillStep{what: last + ": its cable is pulled", do: func(node, _ string) error { return l.Cable(node, "eth0", false) }, to: other(last)},
		drillStep{what: last + ": its cable is put in", do: func(_, node string) error { return l.Cable(node, "eth0", true) }, to: other(last)})
}

// step does a step, and waits until each connection has been used again.
func (d *drill) step(s drillStep) error {
	passive := other(d.active)
	d.traffic.takeSilence()
	if err := s.do(d.active, passive); err != nil {
		return err
	}
	if err := d.traffic.await(2); err != nil {
		return fmt.Errorf("%s: %w", s.what, err)
	}
	who, err := d.lab.awaitActive(s.to)
	if err != nil {
		return fmt.Errorf("%s: %w", s.what, err)
	}
	silence := d.traffic.takeSilence()
	d.active, d.worst = who, max(d.worst, silence)
	fmt.Fprintf(d.out, "%-54s %-9s %14.2f s  %d of %d\n", s.what, who, silence.Seconds(), d.traffic.alive(), d.conns-1)
	return d.awaitSync()
}

// awaitActive returns which of some directors answers for the virtual address, when one does.
func (l *Lab) awaitActive(nodes ...string) (string, error) {
	for deadline := time.Now().Add(takeOverWithin); ; time.Sleep(10 * time.Millisecond) {
		for _, node := range nodes {
			if l.answersVIP(node) {
				return node, nil
			}
		}
		if time.Now().After(deadline) {
			return "", fmt.Errorf("lab: %s did not take the virtual address within %v", strings.Join(nodes, " or "), takeOverWithin)
		}
	}
}

// answersVIP reports whether a director answers for the addresses of its services.
func (l *Lab) answersVIP(node string) bool {
	out, err := l.Exec(node, "uvs", "vip", "--json")
	var all []config.VIP
	if err != nil || json.Unmarshal([]byte(out), &all) != nil {
		return false
	}
	for _, v := range all {
		if !v.Answers {
			return false
		}
	}
	return len(all) > 0
}

// awaitSync returns when the director that is not active knows all connections, if it can be
// asked: one whose process or node is dead cannot.
func (d *drill) awaitSync() error {
	node := other(d.active)
	for deadline := time.Now().Add(takeOverWithin); ; time.Sleep(20 * time.Millisecond) {
		out, err := d.lab.Exec(node, "ipvsadm", "-Lcn")
		var exit *ExitError
		if errors.As(err, &exit) {
			return nil
		}
		n := strings.Count(out, "ESTABLISHED")
		if n >= d.conns {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("lab: %s knows %d of %d connections: their synchronization does not work", node, n, d.conns)
		}
	}
}
