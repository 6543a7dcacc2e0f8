package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"os/signal"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/forwarder/tracefilter"
	"uvs/internal/explain"
	"uvs/internal/peer"
)

// tracer is one `uvs trace`, or a verb below it.
type tracer struct {
	socket          string
	asJSON, oneline bool
	options         config.TraceOptions
	limit           time.Duration // 0: none
}

func traceCmd() *cobra.Command {
	var t tracer
	cmd := &cobra.Command{
		Use:   "trace [N] [FILTER…]",
		Short: "Show what the director decides about the next N packets",
		Long: `Show what the director decides about the next N packets (10 unless said), stage
by stage, with the scheduler's arithmetic and the header fields that change. A filter in
tcpdump's words says which ones:

  uvs trace host 172.16.0.9 and port 80
  uvs trace 3 'verdict drop and not icmp'
  uvs trace 'server 10.0.0.11 and (new or flags rst)'

Packets of ARP and neighbour discovery are left out, unless --neighbours is given.
Recording slows the director down while it lasts, and costs nothing otherwise. So
only root and the user the director runs as may record.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := t.words(args, 10)
			if err != nil {
				return err
			}
			return t.each(cmd.Context(), n, func(r *config.Trace) (bool, error) {
				return true, t.print(cmd.OutOrStdout(), r)
			})
		},
	}
	t.flags(cmd)
	cmd.Flags().BoolVar(&t.oneline, "oneline", false, "print a line for each packet")
	cmd.AddCommand(traceFollowCmd(), tracePathsCmd(), traceSaveCmd(), traceShowCmd())
	return cmd
}

func traceFlags(cmd *cobra.Command, socket *string, asJSON *bool) {
	cmd.Flags().StringVar(socket, "socket", peer.Socket(), "control socket of the director")
	cmd.Flags().BoolVar(asJSON, "json", false, "print JSON, a packet a line")
}

func (t *tracer) flags(cmd *cobra.Command) {
	traceFlags(cmd, &t.socket, &t.asJSON)
	cmd.Flags().BoolVar(&t.options.Neighbours, "neighbours", false, "record packets of ARP and neighbour discovery too")
	cmd.Flags().DurationVar(&t.limit, "for", 0, "end after this time, such as 5s, even if fewer packets came")
}

// words reads how many packets to record, otherwise the given number, and the filter.
func (t *tracer) words(args []string, otherwise int) (n int, err error) {
	n = otherwise
	if len(args) > 0 {
		if number, err := strconv.Atoi(args[0]); err == nil {
			if n, args = number, args[1:]; n < 1 {
				return 0, fmt.Errorf("trace: %d is not a number of packets, from 1 on", n)
			}
		}
	}
	t.options.Filter = strings.Join(args, " ")
	if _, err := tracefilter.Parse(t.options.Filter); err != nil {
		return 0, fmt.Errorf("trace: filter %q: %w", t.options.Filter, err)
	}
	return n, nil
}

// records yields the next n records until the time is over or the user interrupts, which
// are no errors.
func (t *tracer) records(ctx context.Context, n int) iter.Seq2[config.Trace, error] {
	return func(yield func(config.Trace, error) bool) {
		ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
		defer stop()
		if t.limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, t.limit)
			defer cancel()
		}
		for r, err := range client.New(t.socket).Trace(ctx, n, t.options) {
			if ctx.Err() != nil || !yield(r, err) {
				return
			}
		}
	}
}

// each calls f with the next n records, until it returns false or an error.
func (t *tracer) each(ctx context.Context, n int, f func(*config.Trace) (bool, error)) error {
	for r, err := range t.records(ctx, n) {
		if err != nil {
			return err
		}
		if more, err := f(&r); err != nil || !more {
			return err
		}
	}
	return nil
}

func (t *tracer) print(w io.Writer, r *config.Trace) error {
	switch {
	case t.asJSON:
		return json.NewEncoder(w).Encode(r)
	case t.oneline:
		_, err := fmt.Fprintf(w, "#%d %s\n", r.Number, explain.Line(r))
		return err
	}
	if err := explain.Print(w, *r); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}
