package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/ipvsadm"
	"uvs/internal/peer"
	"uvs/sched/sim"
)

func schedRecordCmd() *cobra.Command {
	var service ipvsadm.KeyOptions
	var socket string
	var last time.Duration
	var hash bool
	cmd := &cobra.Command{
		Use:   "record FILE",
		Short: "Record when connections come and end, to replay them through another scheduler",
		Long: `Record, of one service, when each connection came, from whom, which server it got,
when it began and ceased to count as active, and when it ended, until interrupted. Packets are
not recorded, nor is anything of what they carry. - writes to standard output.

The director is not slowed down beyond the work for each new connection. What comes faster than
it can be written is lost, and the file says how much. Only root and the user the director runs
as may record. ` + "`uvs sched replay`" + ` reads the file.`,
		Example: `  uvs sched record -t 10.0.0.1:80 --for 10m monday.jsonl
  uvs sched replay monday.jsonl -s wlc`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			if last > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, last)
				defer cancel()
			}
			d := newClient(socket)
			k, err := serviceToRecord(ctx, d, service)
			if err != nil {
				return fmt.Errorf("sched record: %w", err)
			}
			r := &schedRecording{lines: d.Record(ctx, k)}
			if hash {
				r.anonymizer = sim.NewAnonymizer()
			}
			if args[0] == "-" {
				return r.write(cmd.OutOrStdout())
			}
			return r.writeFile(args[0], cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.StringVar(&socket, "socket", peer.Socket(), "control socket of the director")
	f.DurationVar(&last, "for", 0, "how long; 0: until interrupted")
	f.BoolVar(&hash, "hash-addresses", false, "write other addresses in the place of the clients', the same for the same client")
	service.AddTo(f)
	return cmd
}

// serviceToRecord returns the service that was named or, if none was, the only one.
func serviceToRecord(ctx context.Context, d *client.Client, o ipvsadm.KeyOptions) (config.Key, error) {
	k, err := o.Key(ipvsadm.NewSystemNames())
	if err != nil || k != (config.Key{}) {
		return k, err
	}
	services, err := d.Services(ctx)
	if err != nil {
		return k, err
	}
	if len(services) == 1 {
		return services[0].Key, nil
	}
	var names []string
	for _, s := range services {
		names = append(names, s.Key.String())
	}
	if len(names) == 0 {
		return k, errors.New("the director has no service")
	}
	return k, fmt.Errorf("which service? There are %s", strings.Join(names, ", "))
}

// schedRecording is a recording under way.
type schedRecording struct {
	lines      iter.Seq2[sim.Line, error]
	anonymizer *sim.Anonymizer // nil: addresses are written as they are
	written    int
	lost       uint64
}

func (r *schedRecording) writeFile(name string, say io.Writer) error {
	f, err := newFile(name)
	if err != nil {
		return fmt.Errorf("sched record: %w", err)
	}
	err = errors.Join(r.write(f), f.Close())
	if r.written == 0 {
		return errors.Join(err, os.Remove(name))
	}
	fmt.Fprintf(say, "%s: %d lines", name, r.written)
	if r.lost > 0 {
		fmt.Fprintf(say, ", %d lost", r.lost)
	}
	fmt.Fprintln(say)
	return err
}

// write writes lines until the recording ends; the end of its context is no error. A line
// waits for a second at most.
func (r *schedRecording) write(w io.Writer) error {
	out := bufio.NewWriterSize(w, 1<<20)
	defer out.Flush()
	e := json.NewEncoder(out)
	flushed := time.Now()
	for line, err := range r.lines {
		if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
			return out.Flush()
		}
		if err != nil {
			return err
		}
		if r.anonymizer != nil {
			line = r.anonymizer.Line(line)
		}
		if err := e.Encode(line); err != nil {
			return fmt.Errorf("sched record: %w", err)
		}
		r.written++
		r.lost += line.Lost
		if time.Since(flushed) < time.Second {
			continue
		}
		flushed = time.Now()
		if err := out.Flush(); err != nil {
			return fmt.Errorf("sched record: %w", err)
		}
	}
	return out.Flush()
}
