package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/explain"
	"uvs/internal/pcapng"
)

func traceSaveCmd() *cobra.Command {
	var t tracer
	cmd := &cobra.Command{
		Use:   "save FILE.pcapng [N] [FILTER…]",
		Short: "Save packets as they came and as they left, with the reasons as comments",
		Long: `Save the next N packets, or those until Ctrl-C or --for, in a file for Wireshark, tshark
and uvs trace show: each frame as it came in and as it left, an interface for each link and
direction, and what was decided as a comment beside the frame. The file must be new, and only
its owner may read it; - writes to standard output.

  uvs trace save web.pcapng 100 port 80
  tshark -r web.pcapng -T fields -e frame.number -e frame.interface_name -e frame.comment`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := t.words(args[1:], everything)
			if err != nil {
				return err
			}
			t.options.Frames = true
			saved, missed, err := t.saveAs(cmd, args[0], n)
			if err != nil {
				return err
			}
			text := fmt.Sprintf("%d packets saved in %s", saved, args[0])
			if missed > 0 {
				text += fmt.Sprintf(", %d missed", missed)
			}
			_, err = fmt.Fprintln(cmd.ErrOrStderr(), text)
			return err
		},
	}
	t.flags(cmd)
	return cmd
}

// newFile creates a file for what clients may have sent: others may not read it, and one
// that is there already is not lost.
func newFile(name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s is there already; give another name", name)
	}
	return f, err
}

// saveAs saves in a new file, which is removed if nothing can be saved; - is standard output.
func (t *tracer) saveAs(cmd *cobra.Command, name string, n int) (saved int, missed uint64, err error) {
	if name == "-" {
		return t.save(cmd, cmd.OutOrStdout(), n)
	}
	file, err := newFile(name)
	if err != nil {
		return 0, 0, fmt.Errorf("trace save: %w", err)
	}
	saved, missed, err = t.save(cmd, file, n)
	if err = errors.Join(err, file.Close()); err != nil && saved == 0 {
		err = errors.Join(err, os.Remove(name))
	}
	return saved, missed, err
}

func (t *tracer) save(cmd *cobra.Command, file io.Writer, n int) (saved int, missed uint64, err error) {
	buffer := bufio.NewWriter(file)
	w, err := pcapng.NewWriter(buffer, "uvs "+version())
	if err != nil {
		return 0, 0, err
	}
	err = t.each(cmd.Context(), n, func(r *config.Trace) (bool, error) {
		saved++
		missed += r.Missed
		return true, saveRecord(w, r)
	})
	return saved, missed, errors.Join(err, buffer.Flush())
}

// saveRecord writes the frames of a record. Those that were sent come just after.
func saveRecord(w *pcapng.Writer, r *config.Trace) error {
	frame, sent := r.Frame, r.Sent
	r.Frame, r.Sent = nil, nil
	if err := w.Write(&pcapng.Packet{Interface: r.Link + " in", Time: r.Time, Frame: frame, Comment: strings.TrimSpace(explain.Block(*r))}); err != nil {
		return err
	}
	for _, s := range sent {
		p := pcapng.Packet{Interface: s.Link + " out", Time: r.Time.Add(time.Duration(r.Took)), Frame: s.Frame, Comment: fmt.Sprintf("#%d as it left", r.Number)}
		if err := w.Write(&p); err != nil {
			return err
		}
	}
	return nil
}

func traceShowCmd() *cobra.Command {
	var t tracer
	cmd := &cobra.Command{
		Use:   "show FILE.pcapng | NUMBER",
		Short: "Show a saved trace, or a packet that was recorded lately",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if number, err := strconv.ParseUint(args[0], 10, 64); err == nil {
				r, err := client.New(t.socket).RecentTrace(cmd.Context(), number)
				if err != nil {
					return err
				}
				return t.print(cmd.OutOrStdout(), &r)
			}
			return showFile(cmd.OutOrStdout(), args[0], t.asJSON)
		},
	}
	traceFlags(cmd, &t.socket, &t.asJSON)
	return cmd
}

// shown is a packet of a saved trace.
type shown struct {
	Link    string    `json:"interface"`
	Time    time.Time `json:"time"`
	Length  int       `json:"length"`
	Comment string    `json:"comment,omitempty"`
	Frame   []byte    `json:"frame"`
}

func showFile(w io.Writer, name string, asJSON bool) error {
	file, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("trace: %w", err)
	}
	defer file.Close()
	r := pcapng.NewReader(bufio.NewReader(file))
	for {
		p, err := r.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("trace: %s: %w", name, err)
		case asJSON:
			err = json.NewEncoder(w).Encode(shown{p.Interface, p.Time.UTC(), len(p.Frame), p.Comment, p.Frame})
		default:
			_, err = fmt.Fprintf(w, "%s  %s  %d B\n%s\n\n", p.Time.UTC().Format("15:04:05.000000"), p.Interface, len(p.Frame), p.Comment)
		}
		if err != nil {
			return err
		}
	}
}
