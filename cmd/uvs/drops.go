package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/explain"
	"uvs/internal/peer"
)

func dropsCmd() *cobra.Command {
	var socket string
	v := dropsView{}
	interval := time.Second
	cmd := &cobra.Command{
		Use:   "drops",
		Short: "Show for which reasons packets are dropped, and what to do",
		Long: `Show for which reasons packets are dropped, the most frequent first, each with the last
example, its cause, the typical mistake that leads to it and what mends that. On a terminal,
or with --watch, it goes on until Ctrl-C and shows how many come in a second; else it
prints once.

An example is one of the last second in which there were any. A packet that is traced,
as with uvs trace 'verdict drop', is one with all its steps: uvs trace show NUMBER.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := client.New(socket)
			v.out = cmd.OutOrStdout()
			if watch, set := v.watch, cmd.Flags().Changed("watch"); !watch && (set || v.asJSON || !term.IsTerminal(int(os.Stdout.Fd()))) {
				return v.show(cmd.Context(), c)
			}
			return watching(cmd.Context(), interval, func() error { return v.show(cmd.Context(), c) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&socket, "socket", peer.Socket(), "control socket of the director")
	f.BoolVar(&v.asJSON, "json", false, "print JSON; with --watch a list a line")
	f.BoolVar(&v.watch, "watch", false, "show them again and again, until Ctrl-C")
	f.BoolVar(&v.brief, "brief", false, "leave the explanations out")
	f.DurationVar(&interval, "interval", interval, "time between two times")
	return cmd
}

// dropsView shows drops, and what came since the last time.
type dropsView struct {
	out                  io.Writer
	asJSON, watch, brief bool
	last                 map[string]uint64
	at                   time.Time
}

func (v *dropsView) show(ctx context.Context, c *client.Client) error {
	all, err := c.Drops(ctx)
	if err != nil {
		return err
	}
	if v.asJSON {
		return json.NewEncoder(v.out).Encode(all)
	}
	now, counts := time.Now(), map[string]uint64{}
	for _, d := range all {
		counts[d.Code] = d.Frames
	}
	grown := rates(v.last, counts, now.Sub(v.at))
	v.last, v.at = counts, now
	if len(all) == 0 {
		_, err := fmt.Fprintln(v.out, "no packet was dropped")
		return err
	}
	for i := range all {
		if err := v.reason(&all[i], grown[all[i].Code]); err != nil {
			return err
		}
	}
	return nil
}

func (v *dropsView) reason(d *config.Drops, rate float64) error {
	head := fmt.Sprintf("%d %s", d.Frames, d.Code)
	if rate != 0 {
		head += " " + perSecond(rate)
	}
	if _, err := fmt.Fprintln(v.out, head); err != nil {
		return err
	}
	if t := d.Last; t != nil {
		number := ""
		if t.Number != 0 {
			number = fmt.Sprintf("  (uvs trace show %d)", t.Number)
		}
		on := ""
		if t.Link != "" {
			on = "  on " + t.Link
		}
		if _, err := fmt.Fprintf(v.out, "last     %s  %s%s%s\n", t.Time.UTC().Format(time.TimeOnly), t.Packet, on, number); err != nil {
			return err
		}
	}
	if !v.brief {
		if err := explain.PrintMeaning(v.out, &d.Meaning); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(v.out)
	return err
}
