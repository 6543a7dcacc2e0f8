package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"uvs/lab/capture"
	"uvs/lab/journey"
)

func labWatchCmd() *cobra.Command {
	var c capturing
	var neighbours bool
	cmd := &cobra.Command{
		Use:   "watch [FILTER...]",
		Short: "Show the packets of all links, each with its way through the lab",
		Long: `Shows the packets of all links in the order in which they were sent, a line for each.
The same packet on one link after the other is one journey: from the client over the
director to a real server, say, while the answer comes back another way. Below it is what
a node changed of the packet, if that was not said of the connection before. A packet that
does not arrive is shown as lost on its link. Packets of one connection have the same
number.

FILTER has the words of uvs trace that are about a packet itself: host, net, port,
proto, flags and so on. A packet is shown if it matches anywhere on its way. Packets of
ARP and neighbour discovery are left out, unless --neighbours is given. It ends by Ctrl-C,
after -c packets, after the time of --for, or with the lab.`,
		Example: "  uvs lab watch\n  uvs lab watch flags syn\n  uvs lab watch --neighbours -c 20 host 172.16.253.63",
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.words("watch", args); err != nil {
				return err
			}
			if len(c.links) != len(capture.Links(&c.l.Topology)) {
				return errors.New("lab watch: it shows all links; to see some of them: uvs lab capture")
			}
			signal.Ignore(unix.SIGPIPE) // the error says it
			taps, err := capture.Open(c.l, c.links, 0)
			if err != nil {
				return err
			}
			defer taps.Close()
			taps.EndWith(os.Stdout)
			return c.watch(cmd, taps, journey.NewTracker(&c.l.Topology, c.filter, neighbours))
		},
	}
	c.flags(cmd, "packets")
	cmd.Flags().BoolVar(&c.asJSON, "json", false, "print JSON, a packet a line")
	cmd.Flags().BoolVar(&neighbours, "neighbours", false, "show packets of ARP and neighbour discovery too")
	return cmd
}

// watch prints journeys.
func (c *capturing) watch(cmd *cobra.Command, taps *capture.Capture, t *journey.Tracker) error {
	out := cmd.OutOrStdout()
	colour := term.IsTerminal(int(os.Stdout.Fd())) && os.Getenv("NO_COLOR") == ""
	print := journey.NewPrinter(out, colour).Print
	if c.asJSON {
		print = func(j *journey.Journey) error { return json.NewEncoder(out).Encode(j) }
	}
	shown := 0
	show := func(all []*journey.Journey) error {
		for _, j := range all {
			if err := print(j); err != nil {
				return err
			}
			if shown++; shown == c.count {
				return errEnough
			}
		}
		return nil
	}
	var asked time.Time
	err := c.run(cmd.Context(), taps, func(frames []capture.Frame, until time.Time) error {
		if until.Sub(asked) > time.Second { // links may be changed meanwhile
			asked = until
			if info, err := c.l.Info(); err == nil {
				t.Slowest(info.Slowest())
			}
		}
		return show(t.Frames(frames, until))
	})
	if err == nil {
		err = show(t.End())
	}
	missed(cmd.ErrOrStderr(), taps.Counts())
	return quietEnd(err)
}
