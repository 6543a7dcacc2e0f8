package lab

import (
	"cmp"
	"strings"

	"uvs/internal/lang"
)

// Hints is how many hints there are about each fault.
const Hints = 3

// Hint is help to find the fault that was inserted last.
type Hint struct {
	Number int       // from 1 to Hints; 0: nothing was inserted
	Text   lang.Text // each says more than the one before
	Last   bool      // there is none after it: what is left is to reveal the fault
}

// Hint returns the next hint about the fault that was inserted last. The lab counts them;
// after the last one that one comes again, and is not counted again.
func (l *Lab) Hint() (Hint, error) {
	a, files, err := call(l.socket, request{Op: opHint})
	closeAll(files)
	if err != nil || len(a.Inserted) == 0 {
		return Hint{}, err
	}
	f := &a.Inserted[0]
	n := min(f.Hints, Hints) // a lab that an older uvs has started counts on
	return Hint{Number: n, Text: f.fill(&l.Topology, wordsOfFaults[f.Name].hints[n-1]), Last: n == Hints}, nil
}

// Title says in a line what is wrong.
func (f *Fault) Title() lang.Text { return wordsOfFaults[f.Name].title }

// Title says in a line what is wrong.
func (f *Inserted) Title() lang.Text { return wordsOfFaults[f.Name].title }

// Fix says what mends the fault in a lab of a topology.
func (f *Inserted) Fix(t *Topology) lang.Text { return f.fill(t, wordsOfFaults[f.Name].fix) }

// fill puts names and addresses of the topology in a text.
func (f *Inserted) fill(t *Topology, text lang.Text) lang.Text {
	ip, forwarding := "ip", "net.ipv4.ip_forward"
	if t.VIP.Is6() {
		ip, forwarding = "ip -6", "net.ipv6.conf.all.forwarding"
	}
	rip, gateway := "", ""
	if n := t.Node(f.Node); n != nil {
		rip, gateway = n.Address().String(), n.Gateway.String()
	}
	service := cmp.Or(f.Service, "-t "+t.At().String())
	r := strings.NewReplacer(
		"{node}", f.Node, "{director}", t.named(Director), "{client}", t.named(Client), "{router}", t.named(Router),
		"{vip}", t.VIP.String(), "{single}", single(t.VIP), "{service}", service,
		"{rip}", rip, "{gateway}", gateway, "{ip}", ip, "{forwarding}", forwarding, "{url}", t.URL("/"))
	return lang.Text{EN: r.Replace(text.EN), ZH: r.Replace(text.ZH)}
}
