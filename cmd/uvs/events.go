package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/peer"
)

func eventsCmd() *cobra.Command {
	var socket, since string
	var follow, asJSON bool
	cmd := &cobra.Command{
		Use:   "events",
		Short: "List what happened to the director, and with -f what happens",
		Long: `List what happened to the director, oldest first: it remembers the last 1024 events
since it was started. Each has a stable name (docs/events.md).

With -f it goes on with what happens, also when another director takes this one's
place: it ends with Ctrl-C.

  uvs events -f --since 10m`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q := client.EventsQuery{Follow: follow}
			var err error
			if q.Since, err = sinceTime(since, time.Now()); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			return followEvents(ctx, client.New(socket), q, eventPrinter(cmd.OutOrStdout(), asJSON))
		},
	}
	f := cmd.Flags()
	f.StringVar(&socket, "socket", peer.Socket(), "control socket of the director")
	f.BoolVarP(&follow, "follow", "f", false, "go on with what happens")
	f.StringVar(&since, "since", "", "only events from this time on, such as 10m ago (10m) or 2026-01-31T12:00:00Z")
	f.BoolVar(&asJSON, "json", false, "print JSON, an event a line")
	return cmd
}

// sinceTime reads the value of --since: how long ago, or a time.
func sinceTime(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", time.DateTime, "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since %q: how long ago, such as 10m, or a time, such as 2026-01-31T12:00:00Z", text)
}

// retryEvents is how often the next director is looked for.
const retryEvents = 500 * time.Millisecond

// followEvents prints events, and with q.Follow those of the next director when this one ends.
func followEvents(ctx context.Context, c *client.Client, q client.EventsQuery, show func(config.Event) error) error {
	for answered, told := false, false; ; {
		for e, err := range c.Events(ctx, q) {
			switch {
			case ctx.Err() != nil:
				return nil
			case err != nil && !(answered && errors.Is(err, client.ErrNoDirector)):
				return err
			case err != nil:
				continue
			}
			if err := show(e); err != nil {
				return err
			}
			told, q.After = false, cmp.Or(e.ID, q.After)
		}
		if !q.Follow || ctx.Err() != nil {
			return nil
		}
		if answered = true; !told {
			fmt.Fprintln(os.Stderr, "uvs: the director ended; waiting for the next one")
			told = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(retryEvents):
		}
	}
}

// eventPrinter returns a function that prints an event as a line.
func eventPrinter(w io.Writer, asJSON bool) func(config.Event) error {
	encoder := json.NewEncoder(w)
	return func(e config.Event) error {
		if asJSON {
			return encoder.Encode(e)
		}
		var line strings.Builder
		fmt.Fprintf(&line, "%s %-5s %s: %s", e.Time.Local().Format("2006-01-02T15:04:05.000Z07:00"), e.Level, e.Name, e.Message)
		for _, name := range slices.Sorted(maps.Keys(e.Attributes)) {
			value := fmt.Sprint(e.Attributes[name])
			if value == "" || strings.ContainsAny(value, " =\"\t\n") {
				value = fmt.Sprintf("%q", value)
			}
			fmt.Fprintf(&line, " %s=%s", name, value)
		}
		_, err := fmt.Fprintln(w, line.String())
		return err
	}
}
