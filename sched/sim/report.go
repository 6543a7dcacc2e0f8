package sim

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Report describes how the connections of a run were distributed.
type Report struct {
	Scheduler   string        `json:"scheduler"`
	Seed        uint64        `json:"seed"`
	Connections int           `json:"connections"`
	Refused     int           `json:"refused"` // no server could take them
	Broken      int           `json:"broken"`  // lost with a failed server
	Elapsed     Duration      `json:"elapsed"` // until the last one arrived
	Jain        float64       `json:"jain"`    // Jain's index of picks per ideal, 1 if all have their share
	LongestRun  int           `json:"longest_run"`
	SameClient  float64       `json:"same_client"`  // share of picks, of clients seen before, that went where the client's last one went
	SameAddress float64       `json:"same_address"` // likewise, of the address asked for
	Servers     []ServerShare `json:"servers"`

	byClient, byAddress affinity
	last, length        int
}

// ServerShare is one server's part.
type ServerShare struct {
	Server     int     `json:"server"`
	Addr       string  `json:"address"`
	Weight     int32   `json:"weight"` // at the end
	Picks      int     `json:"picks"`
	Ideal      float64 `json:"ideal"` // picks by weight alone, among the servers eligible at each pick
	PeakActive int32   `json:"peak_active"`
	LongestRun int     `json:"longest_run"`
}

// affinity counts how often a key gets the same server as last time.
type affinity struct {
	last        map[[16]byte]int
	same, again int
}

func (a *affinity) count(key [16]byte, server int) {
	if a.last == nil {
		a.last = map[[16]byte]int{}
	}
	if was := a.last[key]; was != 0 {
		a.again++
		if was == server {
			a.same++
		}
	}
	a.last[key] = server
}

func (a *affinity) share() float64 {
	if a.again == 0 {
		return 0
	}
	return float64(a.same) / float64(a.again)
}

// count adds a pick to the report.
func (p *Report) count(r *run, pick Pick) {
	p.Connections++
	for _, s := range r.servers[len(p.Servers):] {
		p.add(s)
	}
	p.countIdeal(r, pick.Server)
	p.length++
	if pick.Server != p.last {
		p.last, p.length = pick.Server, 1
	}
	if pick.Server == 0 {
		p.Refused++
		return
	}
	s := &p.Servers[pick.Server-1]
	s.Picks++
	s.PeakActive = max(s.PeakActive, r.servers[pick.Server-1].Active())
	s.LongestRun = max(s.LongestRun, p.length)
	p.LongestRun = max(p.LongestRun, p.length)
	p.byClient.count(pick.Flow.Src16(), pick.Server)
	p.byAddress.count(pick.Flow.Dst16(), pick.Server)
	p.SameClient, p.SameAddress = p.byClient.share(), p.byAddress.share()
}

func (p *Report) add(s *server) {
	share := ServerShare{Server: len(p.Servers) + 1}
	if s != nil {
		share.Addr, share.PeakActive = s.Addr.String(), s.Active()
	}
	p.Servers = append(p.Servers, share)
}

// countIdeal distributes one pick by weight. The picked server was eligible, though the pick
// itself may have overloaded it.
func (p *Report) countIdeal(r *run, picked int) {
	total := 0.0
	eligible := func(s *server) bool {
		return s.RealServer.Weight() > 0 && (!s.Overloaded() || s.number == picked)
	}
	for _, s := range r.order {
		if eligible(s) {
			total += float64(s.RealServer.Weight())
		}
	}
	for _, s := range r.order {
		share := &p.Servers[s.number-1]
		share.Addr, share.Weight = s.Addr.String(), s.RealServer.Weight()
		if picked != 0 && eligible(s) {
			share.Ideal += float64(share.Weight) / total
		}
	}
}

func (p *Report) finish(now time.Duration) {
	p.Elapsed = Duration(now)
	var sum, squares, n float64
	for _, s := range p.Servers {
		if s.Ideal > 0 {
			x := float64(s.Picks) / s.Ideal
			sum, squares, n = sum+x, squares+x*x, n+1
		}
	}
	if squares > 0 {
		p.Jain = sum * sum / (n * squares)
	}
}

// Print writes a report as a table and a few lines.
func (p *Report) Print(w io.Writer) error {
	fmt.Fprintf(w, "%s: %d connections in %s, seed %d\n\n", p.Scheduler, p.Connections,
		time.Duration(p.Elapsed).Round(time.Millisecond), p.Seed)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "server\tweight\tpicks\tshare\tideal\tpeak active\tlongest run\t")
	taken := float64(max(1, p.Connections-p.Refused))
	for _, s := range p.Servers {
		fmt.Fprintf(t, "%d\t%d\t%d\t%.1f%%\t%.1f%%\t%d\t%d\t\n", s.Server, s.Weight, s.Picks,
			100*float64(s.Picks)/taken, 100*s.Ideal/taken, s.PeakActive, s.LongestRun)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "\nJain index %.4f, longest run %d, refused %d, broken %d\n%s",
		p.Jain, p.LongestRun, p.Refused, p.Broken, p.constancy())
	return err
}

// constancy says how often clients, and addresses if there are several, got the same server
// as last time.
func (p *Report) constancy() string {
	text := fmt.Sprintf("same server as the client's last time: %.1f%%", 100*p.SameClient)
	if len(p.byAddress.last) > 1 {
		text += fmt.Sprintf(", as the address's: %.1f%%", 100*p.SameAddress)
	}
	return text + "\n"
}
