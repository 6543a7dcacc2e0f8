package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"uvs/forwarder/client"
)

// watching calls show now and at each interval, until the user interrupts, which is no
// error. On a terminal each begins on an empty screen.
func watching(ctx context.Context, interval time.Duration, show func() error) error {
	if interval < 10*time.Millisecond {
		return fmt.Errorf("--interval %v: 10ms or more", interval)
	}
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stop()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		if term.IsTerminal(int(os.Stdout.Fd())) {
			fmt.Print("\x1b[H\x1b[2J")
		}
		if err := show(); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// counterView lists counters again and again, with what came since the last time.
type counterView struct {
	all, asJSON bool
	last        map[string]uint64
	at          time.Time
}

// watched are counters at a moment, with their rates.
type watched struct {
	Time     time.Time          `json:"time"`
	Counters map[string]uint64  `json:"counters"`
	Rates    map[string]float64 `json:"per_second"`
}

func (v *counterView) show(ctx context.Context, c *client.Client) error {
	counters, err := c.Counters(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	w := watched{Time: now.UTC(), Counters: counters, Rates: rates(v.last, counters, now.Sub(v.at))}
	v.last, v.at = counters, now
	if v.asJSON {
		return json.NewEncoder(os.Stdout).Encode(w)
	}
	out := tabwriter.NewWriter(os.Stdout, 0, 8, 2, ' ', tabwriter.AlignRight)
	for _, name := range slices.Sorted(maps.Keys(counters)) {
		if n := counters[name]; n != 0 || v.all {
			fmt.Fprintf(out, "%d\t%s\t %s\n", n, perSecond(w.Rates[name]), name)
		}
	}
	if _, err := fmt.Fprintln(out); err != nil {
		return err
	}
	return out.Flush()
}

// rates returns by how much counters have grown a second. What says "now" may shrink.
func rates(last, now map[string]uint64, d time.Duration) map[string]float64 {
	all := map[string]float64{}
	for name, n := range now {
		if was, ok := last[name]; ok && n != was && d > 0 {
			all[name] = float64(int64(n-was)) / d.Seconds()
		}
	}
	return all
}

// perSecond words a rate, as nothing where there is none.
func perSecond(rate float64) string {
	if rate == 0 {
		return ""
	}
	return fmt.Sprintf("%+.0f/s", rate)
}
