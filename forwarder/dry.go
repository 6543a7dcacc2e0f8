package forwarder

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/service"
)

// DryRun returns what would become of a packet now, and of the server's answer, if that
// passes here: nothing is sent, and nothing changes. It may fail with config.ErrInvalid.
//
// The packet goes through a copy of what concerns it, by the code that forwards. What that
// cannot know is how many ICMP errors a worker has sent in this second, which numbers the
// director chooses at random, and what comes before the real packet does.
func (fw *Forwarder) DryRun(p config.DryPacket) (there config.Trace, back *config.Trace, err error) {
	link, err := fw.dryLink(&p)
	if err != nil {
		return there, nil, err
	}
	b := p.Frame
	if b == nil {
		if b, err = fw.dryFrame(&p, link); err != nil {
			return there, nil, err
		}
	}
	t, err := fw.twinFor(b, link)
	if err != nil {
		return there, nil, fmt.Errorf("forwarder: dry run: %w", err)
	}
	defer t.close()
	there, sent := t.carry(link, b)
	for _, name := range t.anew {
		there.Steps = append(there.Steps, config.Step{Stage: "sched", Code: "sched-unknown",
			What: "the scheduler of " + name + " cannot be copied: it is asked as if it were new"})
	}
	if sent = append(sent, t.waiting...); len(sent) != 0 {
		if reply, by := t.answerTo(&sent[0]); reply != nil {
			r, _ := t.carry(by, reply)
			back = &r
		}
	}
	return there, back, nil
}

// twinFor returns a twin for a frame that arrives on a link.
func (fw *Forwarder) twinFor(b []byte, link *linkState) (*twin, error) {
	var parser frame.Parser
	f := dryArrival(b, link)
	parser.Parse(&f)
	return fw.newTwin(&f)
}

func dryArrival(b []byte, link *linkState) (f frame.Frame) {
	buf := make([]byte, frame.Headroom+len(b)+frame.Headroom)
	copy(buf[frame.Headroom:], b)
	f.Reset(buf, frame.Headroom, frame.Headroom+len(b), len(b))
	f.Ingress = link.Index
	return f
}

// carry has the twin's worker handle a frame that arrives on a link, as worker.batch does,
// and returns the record and what would be sent.
func (t *twin) carry(link *linkState, b []byte) (config.Trace, []frame.Frame) {
	w := t.w
	fs := w.in[:1]
	fs[0] = dryArrival(b, link)
	w.begin()
	w.parse(fs)
	w.lookup(fs)
	if w.link = w.from[0]; w.link == nil {
		w.end()
		return config.Trace{Time: time.Now(), Link: link.Name, Length: len(b), Packet: fs[0].Words(), Verdict: frame.Pass.String(),
			Steps: []config.Step{{Stage: "rx", Code: "rx-unused", What: link.Name + ": the director does not work on this interface"}}}, nil
	}
	r := w.newRecord(&fs[0], true)
	r.dry = true
	w.rec = r
	v := w.forward(&fs[0], w.verdict[0], w.found[0])
	w.rec = nil
	r.end(w, v)
	r.states(t)
	w.tx.flush()
	sent := t.sent.frames
	t.sent.frames = nil
	for _, s := range t.guardQueue.take() {
		if s.frame != nil {
			sent = append(sent, *s.frame)
		}
	}
	w.end()
	r.Number = 0
	return r.Trace, sent
}

// states records what the packet has made of its connection and template.
func (r *record) states(t *twin) {
	if !r.known {
		return
	}
	flow := r.flow
	c, _ := t.w.reader.Lookup(&flow)
	if c == nil {
		return
	}
	left := c.Expires(t.w.now).Round(time.Second)
	s := r.note("conn", "conn-after", "then %s, %s left", c.StateName(), left)
	s.Fields = connFields(c, left)
	if c.Control == 0 {
		return
	}
	if ct := t.conns.At(c.Control); ct.Has(conntrack.Template) {
		s.Notes = append(s.Notes, fmt.Sprintf("its template → %s has %s left", ct.RealAddr(), ct.Expires(t.w.now).Round(time.Second)))
	}
}

// answerTo returns the frame by which a server answers what was sent to it, and the link on
// which that arrives here: nil if it travels another way, or there is none.
func (t *twin) answerTo(f *frame.Frame) ([]byte, *linkState) {
	var parser frame.Parser
	if parser.Parse(f) != frame.Continue || !f.Info.HasPorts {
		return nil, nil
	}
	back := f.Flow.Reverse()
	c, reply := t.reader.Lookup(&back)
	link := t.links.Load().byIndex(f.Egress)
	if c == nil || !reply || link == nil {
		return nil, nil
	}
	p := config.DryPacket{Proto: frame.ProtoName(back.Proto()), Source: back.Source(), Destination: back.Destination()}
	if back.Proto() == frame.ProtoTCP {
		seq, _ := f.TCPSeq()
		p.Flags, p.Ack = answerFlags(f.Info.TCPFlags), seq+uint32(len(payload(f)))
		if f.Info.TCPFlags&(frame.FlagSYN|frame.FlagFIN) != 0 {
			p.Ack++
		}
	}
	if back.Proto() == frame.ProtoSCTP {
		p.Flags = "init-ack"
	}
	b, err := t.dryFrame(&p, link)
	if err != nil {
		return nil, nil
	}
	return b, link
}

// answerFlags returns the flags with which an ordinary server answers.
func answerFlags(to uint8) string {
	switch {
	case to&frame.FlagSYN != 0:
		return "syn,ack"
	case to&frame.FlagFIN != 0:
		return "fin,ack"
	}
	return "ack"
}

// nearMisses is how many services that did not match are named.
const nearMisses = 8

// notMatched says why services that look as if they were for a flow are not.
func notMatched(all *service.Snapshot, matched *service.Service, f *frame.Flow, mark uint32) (notes []string) {
	if all == nil {
		return nil
	}
	for v := range all.All() {
		if matched != nil && v.Key == matched.Key {
			continue
		}
		if why := notMatching(v, matched, f, mark); why != "" {
			notes = append(notes, "not "+v.Key.String()+": "+why)
		}
	}
	slices.Sort(notes)
	if n := len(notes); n > nearMisses {
		notes = append(notes[:nearMisses], fmt.Sprintf("and %d other services of the address", n-nearMisses))
	}
	return notes
}

func notMatching(v, matched *service.Service, f *frame.Flow, mark uint32) string {
	switch {
	case v.Mark != 0 && mark == 0:
		return "the packet has no mark: no mark rule of the director gives it one"
	case v.Mark != 0:
		return fmt.Sprintf("the packet has the mark %d", mark)
	case v.Addr != f.Dst():
		return ""
	case uint8(v.Proto) != f.Proto():
		return "another protocol"
	case v.Port == 0 && matched != nil:
		return "it is for the other ports of the address"
	case v.Port != 0 && v.Port != f.DstPort():
		return "another port"
	case matched != nil && matched.Mark != 0:
		return "the service by mark comes first"
	}
	return ""
}

// dryLink returns the link on which a packet arrives.
func (fw *Forwarder) dryLink(p *config.DryPacket) (*linkState, error) {
	links := fw.links.Load()
	if p.Link != "" {
		if l := links.named(p.Link); l != nil {
			return l, nil
		}
		return nil, &config.FieldError{Field: "interface", Problem: fmt.Sprintf("there is no %s; the director works on %s", p.Link, strings.Join(fw.usedLinks(), ", "))}
	}
	if !p.Source.IsValid() {
		return nil, &config.FieldError{Field: "source", Problem: "an address is missing"}
	}
	src := p.Source.Addr().Unmap()
	hop, v := peeker{Neighbours: fw.neigh}.Lookup(src)
	if v == frame.Continue {
		if l := links.byIndex(hop.Link); l != nil {
			return l, nil
		}
	}
	return nil, &config.FieldError{Field: "source", Problem: fmt.Sprintf("no route leads to %s, so nothing says on which interface it arrives; name one", src)}
}
