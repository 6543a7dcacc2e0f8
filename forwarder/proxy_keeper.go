package forwarder

import (
	"uvs/conntrack"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/modes"
)

// proxyKeeper does for the SYN proxy what is due in time. It belongs to one goroutine.
type proxyKeeper struct {
	fw     *Forwarder
	reader *conntrack.Reader
}

// step replaces the secret of SYN cookies, sends SYNs again that no server answered, and
// gives up connections after the last.
func (k *proxyKeeper) step(now conntrack.Tick) {
	k.fw.cookies.Turn(cookieGeneration(now))
	again, over := k.fw.openings.overdue(now)
	for i := range again {
		k.fw.openings.retried.Add(1)
		k.fw.sendAlone(&again[i])
	}
	for _, ref := range over {
		k.giveUp(ref, now)
	}
}

// overdue returns copies of the SYNs to send again, and the openings to give up.
func (o *openings) overdue(now conntrack.Tick) (again []frame.Frame, over []conntrack.Ref) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for tries := range o.queues {
		q := &o.queues[tries]
		for first := q.Front(); first != nil; first = q.Front() {
			ref := first.Value.(conntrack.Ref)
			p := o.all[ref]
			if p.due > now {
				break
			}
			q.Remove(first)
			p.place = nil
			if p.adopted || tries == synTries {
				over = append(over, ref)
				continue
			}
			again = append(again, p.syn.Copy())
			o.wait(ref, p, tries+1, now+conntrack.TicksPerSecond<<tries)
		}
	}
	return again, over
}

// giveUp resets the client of a connection whose server does not answer, and removes it.
func (k *proxyKeeper) giveUp(ref conntrack.Ref, now conntrack.Tick) {
	fw, r := k.fw, k.reader
	p := fw.endOpening(ref)
	if p == nil {
		return
	}
	fw.openings.unanswered.Add(1)
	r.Enter()
	if c := fw.conns.At(ref); !c.Gone() && c.RequestFlow() == p.flow {
		r.Remove(c, now)
	}
	r.Exit()
	back := p.flow.Reverse()
	rst := modes.Segment{Seq: p.cookie + 1, Flags: frame.FlagRST, Scale: conntrack.NoScale}
	if !p.adopted {
		rst.Ack, rst.Flags = p.next, frame.FlagRST|frame.FlagACK
	}
	var f frame.Frame
	if rst.Request(&f, make([]byte, modes.MaxSegmentLen), &back) {
		fw.sendAlone(&f)
	}
}

// sendAlone sends a frame made here to its destination.
func (fw *Forwarder) sendAlone(f *frame.Frame) {
	var parser frame.Parser
	v := parser.Parse(f)
	var hop *neigh.Hop
	if v == frame.Continue {
		hop, v = fw.neigh.Lookup(f.Flow.Dst())
	}
	if v == frame.Continue && !hop.Resolved {
		f.Egress = hop.Link
		v = fw.neigh.Queue(hop, f)
	}
	if v.IsDrop() {
		fw.accounts.made.Add(1)
	}
	if v != frame.Continue {
		return
	}
	f.Egress = hop.Link
	f.SetMACs(hop.DstMAC[:], hop.SrcMAC[:])
	fw.Emit([]frame.Frame{*f})
}
