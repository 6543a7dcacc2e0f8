package forwarder

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"uvs/forwarder/frame"
)

// engineStage plays a plot with the director and compares it with the model.
type engineStage struct {
	*testbed
	p      *player
	log    []string
	locals map[string]netip.AddrPort // of FULLNAT, by protocol and client
	failed string
}

func TestTheDirectorDoesWhatTheModelDoes(t *testing.T) {
	plots := drawPlot([]string{"m", "m", "g", "i", "f"}, []int{1, 1, 3, 8, 20, 70, 130, 950}, 1, 40)
	rapid.Check(t, func(rt *rapid.T) {
		c := plots.Draw(rt, "plot")
		if problem := c.against(t); problem != "" {
			rt.Fatal(problem)
		}
	})
}

// against plays the plot with the director; it returns the first difference.
func (c *plot) against(t *testing.T) (problem string) {
	synctest.Test(t, func(t *testing.T) {
		s := &engineStage{testbed: newTestbed(t, ""), locals: map[string]netip.AddrPort{}}
		s.net.forward, s.net.local = true, isVirtual
		s.p = c.begin(s, s.testbed, "10.2.0.1", "fd00:2::1", 30000)
		defer func() {
			if problem = s.failed; problem != "" {
				recover()
			}
		}()
		s.p.play()
	})
	return problem
}

// fail ends the plot.
func (s *engineStage) fail(format string, args ...any) {
	s.failed = strings.Join(s.log, "\n") + "\n" + fmt.Sprintf(format, args...)
	panic(s.failed)
}

func (s *engineStage) do(line string) {
	s.log = append(s.log, line)
	s.testbed.do(line)
}

func (s *engineStage) wait(d time.Duration) {
	s.log = append(s.log, "wait "+d.String())
	s.testbed.pass(d)
}

func (s *engineStage) local(proto uint8, client netip.AddrPort) (netip.AddrPort, bool) {
	a, ok := s.locals[fmt.Sprint(proto, client)]
	return a, ok
}

func (s *engineStage) send(link int, p []byte, want string) {
	f := *flowOf(p)
	s.log = append(s.log, fmt.Sprintf("%v flags %#x: %s", &f, parsed(p).Info.TCPFlags, want))
	if got := s.outcome(link, &f, s.deliver(link, p)); got != want {
		s.fail("that went %q", got)
	}
}

// outcome says in the model's words what came of a packet with flow f.
func (s *engineStage) outcome(link int, f *frame.Flow, out []sent) string {
	if len(out) == 0 {
		return "nothing"
	}
	if len(out) > 1 {
		return fmt.Sprint(len(out), " frames")
	}
	b := out[0].b
	judge(s.t, b)
	g := *flowOf(b)
	switch {
	case g.Proto() == frame.ProtoICMP || g.Proto() == frame.ProtoICMPv6:
		return "port unreachable"
	case link == 1 && out[0].link == 1:
		return "reset"
	case link == 1:
		return s.toServer(f, &g, b)
	case g.Source() == f.Source() && g.Destination() == f.Destination():
		return "routed"
	}
	return "from " + g.Source().String()
}

func (s *engineStage) toServer(f, g *frame.Flow, b []byte) string {
	real := s.p.reals[f.Proto()][b[5]-1] // by the MAC address
	switch g.Proto() {
	case 4, 41:
		in := b[frame.EthernetLen+20:]
		if s.p.Six {
			in = b[frame.EthernetLen+40:]
		}
		if h := *flowOf(arriving(2, in)); h != *f || g.Dst() != real.Addr() {
			return fmt.Sprintf("%v in %v", &h, g)
		}
		return "i to " + real.String()
	}
	switch {
	case g.Destination() == f.Destination():
		return "g to " + real.String()
	case g.Source() == f.Source():
		return "m to " + g.Destination().String()
	}
	s.locals[fmt.Sprint(f.Proto(), f.Source())] = g.Source()
	return "f to " + g.Destination().String()
}

func (s *engineStage) look(m *model) {
	want, conns := m.listing(), s.connLines()
	if same, _ := sameConnections(want, conns, 1); !same {
		s.fail("connections\n%s\nwant\n%s", strings.Join(conns, "\n"), strings.Join(want, "\n"))
	}
	servers := s.servers()
	for _, svc := range []*modelService{m.tcp, m.udp} {
		for _, x := range svc.servers {
			active, inactive, templates := m.counts(x)
			if want := fmt.Sprintf("%s %s %d %d %d %d", svc.words(), x.addr, x.weight, active, inactive, templates); !slices.Contains(servers, want) {
				s.fail("servers with weight and counts %q\nwant %s among them", servers, want)
			}
		}
	}
}

// servers returns each server with its service, weight and counts.
func (s *engineStage) servers() (servers []string) {
	for _, svc := range s.fw.Services() {
		word := "-t "
		if svc.Proto == 17 {
			word = "-u "
		}
		for _, x := range svc.Servers {
			servers = append(servers, fmt.Sprintf("%s%s %s %d %d %d %d", word, netip.AddrPortFrom(svc.Addr, svc.Port), x.AddrPort(), x.Weight, x.Active, x.Inactive, x.Persistent))
		}
	}
	return servers
}

// questionStage writes a plot down as a story without its outcome.
type questionStage struct {
	setup, words []string
	steps        []map[string]any
	begun        bool
}

func (q *questionStage) do(line string) {
	if !q.begun {
		q.setup = append(q.setup, line)
		return
	}
	q.steps = append(q.steps, map[string]any{"do": line})
}
func (q *questionStage) wait(d time.Duration) {
	q.steps = append(q.steps, map[string]any{"wait": d.Seconds()})
}
func (q *questionStage) send(link int, p []byte, _ string) {
	n := p[11]
	q.steps = append(q.steps, map[string]any{"in": map[int]string{1: ">", 2: "<"}[link], "pkt": hex.EncodeToString(p[frame.EthernetLen:]), "n": n})
}
func (q *questionStage) local(uint8, netip.AddrPort) (netip.AddrPort, bool) {
	return netip.AddrPort{}, false
}
func (q *questionStage) look(*model) { q.begun = true }

// TestWriteQuestions writes plots to the file UVS_QUESTIONS, to be asked of
// another director.
func TestWriteQuestions(t *testing.T) {
	name := os.Getenv("UVS_QUESTIONS")
	if name == "" {
		t.Skip("UVS_QUESTIONS does not name a file")
	}
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	plots := drawPlot([]string{"m", "m", "g", "i"}, []int{1, 1, 2}, 10, 24)
	for i := range 60 {
		c := plots.Example(i)
		v4, v6 := fmt.Sprintf("10.2.9.%d", i+1), fmt.Sprintf("fd00:2::9:%x", i+1)
		q := &questionStage{words: []string{v4 + ":", "[" + v6 + "]:"}}
		c.begin(q, &testbed{}, v4, v6, 40000+8*i).play()
		line, _ := json.Marshal(map[string]any{"case": fmt.Sprint("plot ", i), "words": q.words, "setup": q.setup, "steps": q.steps})
		fmt.Fprintf(f, "%s\n", line)
	}
}
