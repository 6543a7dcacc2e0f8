package sim

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// Print writes what happened beside what would have happened.
func (c *Comparison) Print(w io.Writer) error {
	was, is := c.Recorded, c.Replayed
	fmt.Fprintf(w, "%d connections in %s from %d clients: recorded with %s, replayed with %s\n\n", was.Connections,
		time.Duration(was.Elapsed).Round(time.Millisecond), c.Clients, was.Scheduler, is.Scheduler)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\trecorded\t\t\t\treplayed\t\t\t\t")
	fmt.Fprintln(t, "server\tweight\tpicks\tshare\tpeak\tweight\tpicks\tshare\tpeak\t")
	for i := range max(len(was.Servers), len(is.Servers)) {
		a, b := was.share(i), is.share(i)
		addr := a.Addr
		if addr == "" {
			addr = b.Addr
		}
		fmt.Fprintf(t, "%s\t%d\t%d\t%.1f%%\t%d\t%d\t%d\t%.1f%%\t%d\t\n", addr,
			a.Weight, a.Picks, was.percent(a), a.PeakActive, b.Weight, b.Picks, is.percent(b), b.PeakActive)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\trecorded\treplayed\t")
	fmt.Fprintf(t, "Jain index\t%.4f\t%.4f\t\n", was.Jain, is.Jain)
	fmt.Fprintf(t, "longest run\t%d\t%d\t\n", was.LongestRun, is.LongestRun)
	fmt.Fprintf(t, "refused\t%d\t%d\t\n", was.Refused, is.Refused)
	fmt.Fprintf(t, "same server as the client's last time\t%.1f%%\t%.1f%%\t\n", 100*was.SameClient, 100*is.SameClient)
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nmoved: %d of %d connections, %d of %d clients\n", c.Moved, was.Connections, c.MovedClients, c.Clients)
	if c.Lost > 0 {
		fmt.Fprintf(w, "the recording misses %d lines, which came too fast: the figures are approximate\n", c.Lost)
	}
	return nil
}

// share returns the part of the nth server, which one of two reports may not have.
func (p *Report) share(n int) ServerShare {
	if n < len(p.Servers) {
		return p.Servers[n]
	}
	return ServerShare{}
}

func (p *Report) percent(s ServerShare) float64 {
	return 100 * float64(s.Picks) / float64(max(1, p.Connections-p.Refused))
}
