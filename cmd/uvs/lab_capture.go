package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"uvs/forwarder/tracefilter"
	"uvs/lab"
	"uvs/lab/capture"
	"uvs/lab/journey"
)

// capturing is what capture and watch have in common: some links, a filter and an end.
type capturing struct {
	lab    *string
	count  int           // 0: no end
	limit  time.Duration // 0: none
	asJSON bool

	l      *lab.Lab
	links  []capture.Link
	filter *tracefilter.Filter
}

func (c *capturing) flags(cmd *cobra.Command, what string) {
	c.lab = labFlag(cmd)
	cmd.ValidArgsFunction = completeLinks(c.lab)
	cmd.Flags().IntVarP(&c.count, "count", "c", 0, "end after so many "+what)
	cmd.Flags().DurationVar(&c.limit, "for", 0, "end after this time, such as 5s")
}

// completeLinks completes the names of links.
func completeLinks(name *string) cobra.CompletionFunc {
	return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		l, err := lab.Attach(*name)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var words []string
		for i := range l.Topology.Nodes {
			words = append(words, l.Topology.Nodes[i].Name)
		}
		for _, link := range capture.Links(&l.Topology) {
			words = append(words, link.String())
		}
		return words, cobra.ShellCompDirectiveNoFileComp
	}
}

// words finds the lab, and reads links and filter from the arguments.
func (c *capturing) words(verb string, args []string) (err error) {
	if c.count < 0 || c.limit < 0 {
		return fmt.Errorf("lab %s: -c and --for are not negative", verb)
	}
	if c.l, err = lab.Attach(*c.lab); err != nil {
		return err
	}
	var filter []string
	if c.links, filter, err = capture.Words(&c.l.Topology, args); err != nil {
		return fmt.Errorf("lab %s: %w", verb, err)
	}
	text := strings.Join(filter, " ")
	if c.filter, err = tracefilter.Parse(text); err != nil {
		return fmt.Errorf("lab %s: filter %q: %w%s", verb, text, err, c.noLink(filter, args))
	}
	if word := c.filter.AsksDirector(); word != "" {
		return fmt.Errorf("lab %s: filter %q: %q is known to a director only; see: uvs lab exec director -- uvs trace", verb, text, word)
	}
	return nil
}

// noLink adds to an error about a filter that its first word might have been a link.
func (c *capturing) noLink(filter, args []string) string {
	if len(filter) < len(args) || strings.ContainsAny(filter[0], " ()!") {
		return ""
	}
	return fmt.Sprintf("; and no link of lab %s is called %s", c.l.Name, filter[0])
}

// errEnough ends a capture that has all it was asked for.
var errEnough = errors.New("enough")

// run calls f with frames until the user interrupts, the time is over or the lab ends, which
// are no errors, the reader has gone or f says that it is enough.
func (c *capturing) run(ctx context.Context, taps *capture.Capture, f func([]capture.Frame, time.Time) error) error {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stop()
	if c.limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.limit)
		defer cancel()
	}
	return taps.Run(ctx, 50*time.Millisecond, f)
}

// quietEnd returns nil for ends that are no errors.
func quietEnd(err error) error {
	if errors.Is(err, errEnough) || readerGone(err) {
		return nil
	}
	return err
}

// readerGone reports whether nobody reads the output any more.
func readerGone(err error) bool {
	return errors.Is(err, capture.ErrReaderGone) || errors.Is(err, unix.EPIPE)
}

// missed tells which links had more frames than were read.
func missed(w io.Writer, counts []capture.Count) {
	for _, c := range counts {
		if c.Missed > 0 {
			fmt.Fprintf(w, "%s: %d of %d frames were missed: they came faster than they were read\n", c.Link, c.Missed, c.Read+c.Missed)
		}
	}
}

func labCaptureCmd() *cobra.Command {
	var c capturing
	var file string
	var snap int
	cmd := &cobra.Command{
		Use:   "capture [NODE[:ethN]]... [FILTER...]",
		Short: "Capture the frames of a lab's links, for Wireshark or line by line",
		Long: `Captures what nodes send and receive on their links: NODE means all links of a node,
NODE:ethN one of them, none means all of the lab. With -w it writes pcapng, with an
interface for each link that has the link's name, to a new file, or with - to standard
output; without, it prints a line for each frame. A frame that passes two of the links is
captured on both. It works for a plain user, where tcpdump refuses.

FILTER has the words of uvs trace that are about a packet itself: host, net, port,
proto, flags and so on, joined by and, or, not and parentheses. It ends by Ctrl-C, after
-c frames, after the time of --for, when the reader of the pipe has gone, or with the lab.`,
		Example: `  uvs lab capture client rs1 -w - | wireshark -k -i -
  uvs lab capture director:eth1 -w nat.pcapng -c 100 port 80
  uvs lab capture 'host 172.16.253.63 and flags syn'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := c.words("capture", args); err != nil {
				return err
			}
			signal.Ignore(unix.SIGPIPE) // the error says it
			taps, err := capture.Open(c.l, c.links, snap)
			if err != nil {
				return err
			}
			defer taps.Close()
			out, err := captureOutput(file, c.asJSON) // later: where the capture fails there is no new file
			if err != nil {
				return fmt.Errorf("lab capture: %w", err)
			}
			taps.EndWith(out)
			return errors.Join(c.capture(cmd, taps, c.sink(out, file != "")), out.Close())
		},
	}
	c.flags(cmd, "frames")
	cmd.Flags().StringVarP(&file, "write", "w", "", "write pcapng to a new `FILE`; - is standard output")
	cmd.Flags().IntVarP(&snap, "snaplen", "s", 0, "keep at most so many bytes of a frame (default all)")
	cmd.Flags().BoolVar(&c.asJSON, "json", false, "print JSON, a frame a line")
	return cmd
}

// captureOutput opens where frames go. A file must be new, unless it is a pipe or a device.
func captureOutput(name string, asJSON bool) (*os.File, error) {
	switch {
	case name != "" && asJSON:
		return nil, errors.New("-w writes pcapng, not JSON")
	case name == "-" && term.IsTerminal(int(os.Stdout.Fd())):
		return nil, errors.New("standard output is a terminal; send it into a pipe: | wireshark -k -i -")
	case name == "" || name == "-":
		return os.Stdout, nil
	}
	if st, err := os.Stat(name); err == nil && !st.Mode().IsRegular() && st.Mode()&fs.ModeDir == 0 {
		return os.OpenFile(name, os.O_WRONLY, 0)
	}
	return newFile(name)
}

// sink is where frames go.
type sink interface {
	Frame(f *capture.Frame) error
	Flush() error
	End(counts []capture.Count) error
}

func (c *capturing) sink(out io.Writer, asFile bool) func() (sink, error) {
	if asFile {
		return func() (sink, error) {
			return capture.NewFile(out, "uvs "+version(), &c.l.Topology, c.links)
		}
	}
	return func() (sink, error) { return newFrameLines(out, c.asJSON), nil }
}

// capture writes frames, and tells what was captured and missed.
func (c *capturing) capture(cmd *cobra.Command, taps *capture.Capture, open func() (sink, error)) error {
	to, err := open()
	if err != nil {
		return quietEnd(err)
	}
	words, written := journey.NewReader(c.filter), 0
	err = c.run(cmd.Context(), taps, func(frames []capture.Frame, _ time.Time) error {
		for i := range frames {
			if c.filter != nil {
				if _, matches := words.Words(&frames[i]); !matches {
					continue
				}
			}
			if err := to.Frame(&frames[i]); err != nil {
				return err
			}
			if written++; written == c.count {
				return errEnough
			}
		}
		return to.Flush()
	})
	counts, gone := taps.Counts(), readerGone(err)
	err = errors.Join(quietEnd(err), quietEnd(to.End(counts)))
	if _, file := to.(*capture.File); file && !gone {
		fmt.Fprintf(cmd.ErrOrStderr(), "%d frames captured\n", written)
	}
	missed(cmd.ErrOrStderr(), counts)
	return err
}

// frameLines prints a line for each frame.
type frameLines struct {
	w      io.Writer
	asJSON bool
	reader *journey.Reader
}

func newFrameLines(w io.Writer, asJSON bool) *frameLines {
	return &frameLines{w, asJSON, journey.NewReader(nil)}
}

// capturedFrame is a frame as JSON.
type capturedFrame struct {
	Time      time.Time `json:"time"`
	Link      string    `json:"link"`
	Node      string    `json:"node"`
	Network   string    `json:"network"`
	Direction string    `json:"direction"`
	Packet    string    `json:"packet"`
	Length    int       `json:"length"`
}

func (l *frameLines) Frame(f *capture.Frame) error {
	words, _ := l.reader.Words(f)
	direction := "in"
	if f.Out {
		direction = "out"
	}
	if l.asJSON {
		return json.NewEncoder(l.w).Encode(capturedFrame{f.Time.UTC(), f.Link.String(), f.Link.Node, f.Link.Network, direction, words, f.Length})
	}
	_, err := fmt.Fprintf(l.w, "%s  %-14s %-3s  %s, %d B\n", f.Time.Format("15:04:05.000000"), f.Link, direction, words, f.Length)
	return err
}

func (l *frameLines) Flush() error              { return nil }
func (l *frameLines) End([]capture.Count) error { return nil }
