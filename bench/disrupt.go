package bench

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"uvs/bench/load"
	"uvs/bench/report"
)

// Disrupt changes the servers under connections that are held open and new ones
// that come: what breaks, who is sent elsewhere, how long nothing goes. Every case
// has a lab of its own.
var Disrupt = Measure{Name: "disrupt", unpinned: true, untwinned: true, ownLab: true, estimate: disruptEstimate, unsupported: needsDirector, steps: disruptSteps}

// needsDirector refuses what is no director of ours.
func needsDirector(t load.Target) string {
	if t.IsDirector() {
		return ""
	}
	return fmt.Sprintf("%v: no director of uvs", t)
}

// Event is a change of the servers.
type Event string

// Events. A server that dies is taken out of the service some time later, as a
// health checker would.
const (
	Added    Event = "add"     // one more server
	Removed  Event = "remove"  // ipvsadm -d
	Quiesced Event = "quiesce" // weight 0
	Killed   Event = "kill"    // its process, by SIGKILL: its host refuses connections
	Unplug   Event = "unplug"  // its link is down: nobody answers
)

// Events are all of them.
var Events = []Event{Added, Removed, Quiesced, Killed, Unplug}

// DisruptOptions is what Disrupt measures.
type DisruptOptions struct {
	Schedulers []string
	Events     []Event
	Servers    int           // at the beginning
	Held       int           // connections held open
	Keys       int           // clients whose server is asked for before and after
	Rate       float64       // new connections a second
	Detect     time.Duration // from a death until the server is taken out
	Before     time.Duration // how long all is well
	After      time.Duration // how long it is watched after the event
}

// every is the time between the requests of a held connection.
const every = 100 * time.Millisecond

// DisruptTrial is what one event did.
type DisruptTrial struct {
	Target    string        `json:"target"`
	Round     int           `json:"round"`
	Scheduler string        `json:"scheduler"`
	Event     Event         `json:"event"`
	Servers   int           `json:"servers"` // before
	Detect    time.Duration `json:"detect_ns,omitempty"`

	Held        int `json:"held"`         // connections on servers that stayed
	Broken      int `json:"broken"`       // of them
	HeldThere   int `json:"held_there"`   // on the server that was changed
	BrokenThere int `json:"broken_there"` // of them

	Keys     int     `json:"keys"`     // that had a server before
	Remapped int     `json:"remapped"` // of them, with another afterwards or none
	Minimum  float64 `json:"minimum"`  // share that had to be: what the changed server has, or should get

	New       int               `json:"new"`           // connections opened after the event
	Failed    int               `json:"failed"`        // of them
	FailedFor time.Duration     `json:"failed_for_ns"` // from the event until the last that failed was begun
	First     time.Duration     `json:"first_ns"`      // from the event until the added server first answered
	Usual     time.Duration     `json:"usual_wait_ns"` // longest wait for servers that stayed, before the event
	Blocked   time.Duration     `json:"blocked_ns"`    // and after it
	Timeline  []DisruptInterval `json:"timeline"`      // of new connections
	Faults    []string          `json:"faults,omitempty"`
}

// DisruptInterval is what became of the new connections begun in a short time.
type DisruptInterval struct {
	At     float64 `json:"at_ms"` // after the event
	Done   int     `json:"done"`
	Failed int     `json:"failed"`
	Wait   float64 `json:"wait_ms"` // the longest of those that were answered
}

// disruptInterval is the length of a Moment.
const disruptInterval = 50 * time.Millisecond

// Verdict is INVALID for wrong answers.
func (d *DisruptTrial) Verdict() string {
	if len(d.Faults) > 0 {
		return "INVALID"
	}
	return "valid"
}

func disruptSteps(o *Options) []step {
	var all []step
	for _, scheduler := range o.Disrupt.Schedulers {
		for _, e := range o.Disrupt.Events {
			all = append(all, step{name: fmt.Sprintf("%s, %s", scheduler, e), run: func(ctx context.Context, t *run) error {
				d, err := t.disrupt(ctx, scheduler, e)
				if err == nil && ctx.Err() == nil {
					t.report.Disruptions = append(t.report.Disruptions, d)
				}
				return err
			}})
		}
	}
	return all
}

// disrupt measures one event.
func (t *run) disrupt(ctx context.Context, scheduler string, e Event) (DisruptTrial, error) {
	o := &t.options.Disrupt
	c := &cluster{target: t.target, scheduler: scheduler, servers: o.Servers, byAddress: promiseOf(scheduler).key == addressKey}
	d := DisruptTrial{Target: t.target.String(), Round: t.round, Scheduler: scheduler, Event: e, Servers: o.Servers}
	b, r, err := c.open(t.options)
	if err != nil {
		return d, err
	}
	defer b.Close()
	call := load.HoldCall{To: netip.AddrPortFrom(clusterAddr(vipHost), clusterPort), Held: o.Held, Keys: o.Keys, Rate: o.Rate, Every: every}
	if c.byAddress {
		call.To, call.Spread = netip.AddrPortFrom(manyDestinations, clusterPort), o.Keys
	}
	if err := b.calls.Call("Hold", call, &struct{}{}); err != nil {
		return d, err
	}
	wait(ctx, o.Before)
	var at time.Duration
	if err := b.calls.Call("Elapsed", struct{}{}, &at); err != nil {
		return d, err
	}
	if err := c.trigger(ctx, b, r, e, o, &d); err != nil {
		return d, err
	}
	wait(ctx, o.After)
	var held load.HeldResult
	if err := b.calls.Call("Release", struct{}{}, &held); err != nil {
		return d, err
	}
	d.judge(&held, at)
	return d, nil
}

// wait sleeps, or until the context ends.
func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// trigger lets an event happen: to a server that stands by if it is added, else to
// the last.
func (c *cluster) trigger(ctx context.Context, b *testbed, r *running, e Event, o *DisruptOptions, d *DisruptTrial) error {
	which := c.servers - 1
	do := func(words ...string) error {
		_, err := b.lab.Exec(r.node, append([]string{"ipvsadm"}, words...)...)
		return err
	}
	take := func(op string, which int, more ...string) error {
		words := append([]string{op}, c.service()...)
		return do(append(append(words, c.real(which)...), more...)...)
	}
	switch e {
	case Added:
		return take("-a", c.servers, methodFlag[c.target.Method], "-w", "1")
	case Removed:
		return take("-d", which)
	case Quiesced:
		return take("-e", which, methodFlag[c.target.Method], "-w", "0")
	case Killed:
		if err := b.lab.Kill(serverName(which)); err != nil {
			return err
		}
	case Unplug:
		if _, err := b.lab.Exec(serverName(which), "ip", "link", "set", "eth0", "down"); err != nil {
			return err
		}
	}
	d.Detect = o.Detect
	wait(ctx, o.Detect)
	return take("-d", which)
}

// judge makes the figures of what clients saw. at is when the event began.
func (d *DisruptTrial) judge(h *load.HeldResult, at time.Duration) {
	changed := uint16(d.Servers)
	if d.Event == Added {
		changed++
	}
	d.Faults = h.Faults
	d.keys(h, changed)
	for i := range h.Conns {
		d.line(&h.Conns[i], changed, at)
	}
	for _, n := range h.News {
		d.attempt(n, changed, at)
	}
	d.Timeline = timeline(h.News, at)
}

func (d *DisruptTrial) keys(h *load.HeldResult, changed uint16) {
	there := 0
	for i, before := range h.Before {
		if before == 0 {
			continue
		}
		d.Keys++
		if before == changed {
			there++
		}
		if h.After[i] != before {
			d.Remapped++
		}
	}
	d.Minimum = 1 / float64(d.Servers+1)
	if d.Event != Added && d.Keys > 0 {
		d.Minimum = float64(there) / float64(d.Keys)
	}
}

func (d *DisruptTrial) line(l *load.HeldConn, changed uint16, at time.Duration) {
	held, broken := &d.Held, &d.Broken
	if l.Server == changed {
		held, broken = &d.HeldThere, &d.BrokenThere
	}
	*held++
	if l.Broken > 0 {
		*broken++
	}
	for _, w := range l.Waits {
		switch {
		case l.Server == changed:
		case w.At+w.Took < at:
			d.Usual = max(d.Usual, w.Took)
		default:
			d.Blocked = max(d.Blocked, w.Took)
		}
	}
}

func (d *DisruptTrial) attempt(n load.Attempt, changed uint16, at time.Duration) {
	if n.At < at {
		if n.Server != 0 {
			d.Usual = max(d.Usual, n.Took)
		}
		return
	}
	d.New++
	switch {
	case n.Server == 0:
		d.Failed++
		d.FailedFor = max(d.FailedFor, n.At-at)
	case n.Server == changed && d.Event == Added:
		if done := n.At + n.Took - at; d.First == 0 || done < d.First {
			d.First = done
		}
	default:
		d.Blocked = max(d.Blocked, n.Took)
	}
}

// timeline sorts new connections into moments.
func timeline(news []load.Attempt, event time.Duration) []DisruptInterval {
	by := map[int]*DisruptInterval{}
	first, last := 0, 0
	for _, n := range news {
		k := int((n.At - event) / disruptInterval)
		if n.At < event {
			k-- // towards minus infinity
		}
		m := by[k]
		if m == nil {
			m = &DisruptInterval{}
			by[k] = m
		}
		first, last = min(first, k), max(last, k)
		if n.Server == 0 {
			m.Failed++
			continue
		}
		m.Done++
		m.Wait = max(m.Wait, float64(n.Took.Microseconds())/1e3)
	}
	var all []DisruptInterval
	for k := first; k <= last; k++ {
		m := DisruptInterval{}
		if by[k] != nil {
			m = *by[k]
		}
		m.At = float64(k) * float64(disruptInterval.Milliseconds())
		all = append(all, m)
	}
	return all
}

// DisruptResults is the section of Disrupt.
type DisruptResults struct {
	Disruptions []DisruptTrial `json:"disruptions,omitempty"`
}

func (s *DisruptResults) summarize(*Report) {}

func (s *DisruptResults) series() []report.Series {
	var all report.Collection
	for i := range s.Disruptions {
		d := &s.Disruptions[i]
		name := d.Scheduler + "/" + string(d.Event)
		add := func(what, unit string, v float64) {
			all.Add(report.Series{Target: d.Target, Name: name + "/" + what, Unit: unit, Less: true}, d.Round, v)
		}
		add("broken", report.ShareUnit, share(d.Broken, d.Held))
		add("remapped", report.ShareUnit, share(d.Remapped, d.Keys))
		add("blocked", "ms", float64(d.Blocked)/1e6)
	}
	return all
}

func share(part, whole int) float64 {
	if whole == 0 {
		return 0
	}
	return float64(part) / float64(whole)
}

func (s *DisruptResults) tables(*Report) []report.Table {
	if len(s.Disruptions) == 0 {
		return nil
	}
	t := report.Table{
		Title: "Disruption when servers change",
		Note: "broken: connections held open; remapped: clients (for dh, lblc, lblcr addresses) whose next connection goes elsewhere, " +
			"beside the least there can be; longest wait for servers that stayed, before the event and after",
		Head: []string{"target", "sched", "event", "broken elsewhere", "broken there", "remapped", "least", "excess", "new", "failed", "for ms",
			"wait ms", "after", "first on new ms", "verdict"},
	}
	for i := range s.Disruptions {
		t.Rows = append(t.Rows, s.Disruptions[i].cells())
	}
	return []report.Table{t}
}

func (d *DisruptTrial) cells() []string {
	milli := func(t time.Duration) string { return fmt.Sprintf("%.1f", float64(t)/1e6) }
	remapped := share(d.Remapped, d.Keys)
	first := "-"
	if d.First > 0 {
		first = milli(d.First)
	}
	return []string{d.Target, d.Scheduler, string(d.Event),
		shareOf(d.Broken, d.Held), shareOf(d.BrokenThere, d.HeldThere),
		inPercent(remapped), inPercent(d.Minimum), inPercent(remapped - d.Minimum),
		fmt.Sprint(d.New), fmt.Sprint(d.Failed), milli(d.FailedFor), milli(d.Usual), milli(d.Blocked), first,
		strings.Join(append([]string{d.Verdict()}, d.Faults...), ": ")}
}

// shareOf is "12 % of 34".
func shareOf(part, whole int) string {
	if whole == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f %% of %d", 100*share(part, whole), whole)
}

func inPercent(v float64) string { return fmt.Sprintf("%.1f %%", 100*v) }
