package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/internal/peer"
)

func aliveCmd() *cobra.Command {
	var socket, file string
	var during, grace time.Duration
	cmd := &cobra.Command{
		Use:   "alive",
		Short: "Tell keepalived at once when the director dies",
		Long: `Wait for the director of this network namespace to die: end with status 1 at once when
it does not answer, or with 0 when it has answered for the time of --for. So keepalived
gives a virtual address away without asking every second (docs/ha.md):

  vrrp_script director {
      script "/usr/local/bin/uvs alive --for 10s"
      interval 1
      timeout 60
  }

With --file it stays, and keeps a file for keepalived's track_file: 0 while the director
answers, -254 while it does not.`,
		Example: "  uvs alive --for 10s\n  uvs alive --file /run/uvs/alive",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			w := watchman{client.New(socket), grace}
			if file != "" {
				return w.keepFile(ctx, file)
			}
			ctx, cancel := context.WithTimeout(ctx, during)
			defer cancel()
			return w.untilDeath(ctx)
		},
	}
	f := cmd.Flags()
	f.StringVar(&socket, "socket", peer.Socket(), "control socket of the director")
	f.DurationVar(&during, "for", 10*time.Second, "how long it is to be alive")
	f.DurationVar(&grace, "grace", 0, "how long it may be dead: with a keeper (--keep, systemd) it is back within a second")
	f.StringVar(&file, "file", "", "stay, and keep this `FILE` up to date")
	return cmd
}

// watchman waits for the death of a director.
type watchman struct {
	director *client.Client
	grace    time.Duration
}

// errDead says that no director has answered for the time of grace.
var errDead = errors.New("alive: no director answers")

// aliveAgain is how often a director that is dead is asked for.
const aliveAgain = 20 * time.Millisecond

// untilDeath returns errDead when the director has been dead for the time of grace, and nil
// when the context ends.
func (w watchman) untilDeath(ctx context.Context) error {
	for {
		if !w.answers(ctx, w.grace) {
			if ctx.Err() != nil {
				return nil
			}
			return errDead
		}
		w.listen(ctx)
		if ctx.Err() != nil {
			return nil
		}
	}
}

// listen returns when the director has ended, however that was, or the context has: until
// then the stream of its events is open.
func (w watchman) listen(ctx context.Context) {
	never := time.Now().AddDate(100, 0, 0)
	for range w.director.Events(ctx, client.EventsQuery{Since: never, Follow: true}) {
	}
}

// answers reports whether a director answers within a time, asking once at least.
func (w watchman) answers(ctx context.Context, within time.Duration) bool {
	for until := time.Now().Add(within); ; time.Sleep(aliveAgain) {
		ask, cancel := context.WithTimeout(ctx, max(time.Until(until), time.Second))
		_, err := w.director.About(ask)
		cancel()
		if err == nil {
			return true
		}
		if ctx.Err() != nil || !time.Now().Before(until) {
			return false
		}
	}
}

// What track_file reads: keepalived adds it to the priority of an instance, and -254 is its
// FAULT state whatever the priority.
const (
	fileAlive = "0\n"
	fileDead  = "-254\n"
)

// writeAgain is how often the file is written although nothing has changed: keepalived misses
// a change between its reading of the file and the beginning of its watch.
const writeAgain = time.Second

// keepFile writes whether the director answers into a file until the context ends.
func (w watchman) keepFile(ctx context.Context, path string) error {
	for dead := !w.answers(ctx, 0); ctx.Err() == nil; {
		text := fileAlive
		if dead {
			text = fileDead
		}
		if err := replaceFile(path, text); err != nil {
			return err
		}
		if dead {
			dead = !w.answers(ctx, writeAgain)
			continue
		}
		soon, cancel := context.WithTimeout(ctx, writeAgain)
		dead = w.untilDeath(soon) != nil
		cancel()
	}
	return nil
}

// replaceFile writes a file in one step, so that nobody reads half of it.
func replaceFile(path, text string) error {
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".new")
	if err := os.WriteFile(tmp, []byte(text), 0o644); err != nil {
		return fmt.Errorf("alive: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("alive: %w", err)
	}
	return nil
}
