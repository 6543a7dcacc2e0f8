package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/lab"
)

func labRunCmd() *cobra.Command {
	var f topologyFlags
	var node string
	var quiet bool
	cmd := &cobra.Command{
		Use:   "run TOPOLOGY|FILE [-- CMD...]",
		Short: "Start a lab, send HTTP through its director, take it down",
		Long: `Starts a lab, runs CMD in it (in the client, unless --node says where) and takes
the lab down; the exit status is CMD's. Without CMD it sends HTTP requests through
the director, tells which server answered each, prints the director's listings, and shows
what it decided about each packet of one more request (not with --quiet).

With two directors (ha, ha-dr, ha-tun, ha-fullnat, and over IPv6 ha6, …), which need
keepalived, it breaks them one after the other while a client downloads and 200
connections are in use, and says how long nothing came (docs/ha.md). It fails if a
connection breaks, or if nothing came for more than a second.`,
		Example: "  uvs lab run nat\n  uvs lab run dr --rs 3 -- curl -s 172.16.253.63\n  uvs lab run ha",
		RunE: func(cmd *cobra.Command, args []string) error {
			argv := []string(nil)
			if at := cmd.ArgsLenAtDash(); at >= 0 {
				args, argv = args[:at], args[at:]
			}
			if err := oneTopology(args); err != nil {
				return err
			}
			if f.options.Bare && len(argv) == 0 {
				return errors.New("--bare: there is nothing to show without a command")
			}
			l, err := f.start(cmd, args[0])
			if err != nil {
				return err
			}
			defer l.Close()
			if len(argv) == 0 {
				return runDemo(cmd, l, quiet)
			}
			return runCommand(l, node, argv)
		},
	}
	f.add(cmd)
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "leave out the request packet by packet, and what to try next")
	cmd.Flags().StringVar(&node, "node", "", "node to run CMD in (default: the client)")
	return cmd
}

// runCommand runs a command in a node of a lab, and ends the lab.
func runCommand(l *lab.Lab, node string, argv []string) (err error) {
	if node == "" {
		if node, err = usualNode(&l.Topology); err != nil {
			return err
		}
	}
	err = lab.Foreground(l.Command(node, argv...))
	l.Close()
	return exitWith(err)
}

// usualNode is where a command runs unless the user says where.
func usualNode(t *lab.Topology) (string, error) {
	if c := t.Client(); c != nil {
		return c.Name, nil
	}
	return "", fmt.Errorf("%s has no client: say with --node where the command is to run", t.Name)
}

// runDemo runs the demo. An interrupt ends the lab and the process; errors of the demo that
// this causes are not reported.
func runDemo(cmd *cobra.Command, l *lab.Lab, quiet bool) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
	defer stop()
	gone := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() {
		l.Close()
		close(gone)
	})
	err := show(ctx, l, cmd.OutOrStdout(), quiet)
	if !unhook() {
		<-gone
		os.Exit(130)
	}
	return err
}

// show sends traffic through a lab: with two directors, while they take each other's place.
func show(ctx context.Context, l *lab.Lab, w io.Writer, quiet bool) error {
	if l.Topology.Paired() {
		return lab.Drill(l, w, lab.DrillOptions{})
	}
	if err := lab.Demo(l, w); err != nil || quiet {
		return err
	}
	return packetByPacket(ctx, l, w)
}

// packetByPacket has the client ask until the director has followed one connection to its
// end, and shows what it said.
func packetByPacket(ctx context.Context, l *lab.Lab, w io.Writer) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	director := l.Topology.Director().Name
	fmt.Fprintf(w, "\nOne more request, packet by packet:\n\n%s# uvs trace follow\n", director)
	c := l.Command(director, "uvs", "trace", "follow")
	c.Stdout, c.Stderr = w, os.Stderr
	if err := c.Start(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Signal(unix.SIGTERM) })
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	for {
		if _, err := l.Get(l.Topology.Client().Name, l.Topology.URL("/")); err != nil { // the first may come before the recording
			return err
		}
		select {
		case err := <-ended:
			fmt.Fprintf(w, "\nTry next:  uvs lab up %[1]s, and there  uvs lab exec %[2]s -- uvs top\n"+
				"           uvs lab exec %[2]s -- uvs explain --dry tcp %[3]v %[4]v\n", l.Topology.Name, director,
				netip.AddrPortFrom(l.Topology.Client().Address(), 5000), l.Topology.At())
			return err
		case <-time.After(300 * time.Millisecond):
		}
	}
}
