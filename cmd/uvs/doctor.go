package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/internal/doctor"
	"uvs/internal/lang"
	"uvs/internal/peer"
	"uvs/lab"
)

// doctorLook is how long packets are looked at.
const doctorLook = 3 * time.Second

// doctorFlags are the options of `uvs doctor`.
type doctorFlags struct {
	socket string
	lab    string
	look   time.Duration
	about  []string
	json   bool
	watch  bool
	facts  bool
	probes bool
	lang   string
	tag    lang.Tag
}

func doctorCmd() *cobra.Command {
	var o doctorFlags
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Find what is wrong: configuration, host, packets, and every node of a lab",
		Long: `Looks at the director's configuration, at this host (addresses, routes, parameters,
packet filters, sockets) and for 3 s at packets, and says what is wrong: the
likeliest cause first, each with what was seen, why it matters, and the command that
mends it. With --lab it looks at every node of a lab.

The exit status is 0 if nothing was found, 1 for warnings, 2 for errors.`,
		Example: "  uvs doctor\n  uvs doctor --lab dr --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if o.tag, err = lang.Of(o.lang, os.Getenv); err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGINT, unix.SIGTERM)
			defer stop()
			if o.probes {
				return o.printProbes(ctx, cmd.OutOrStdout())
			}
			if o.facts {
				return o.printFacts(ctx, cmd.OutOrStdout())
			}
			return o.run(ctx, cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.socket, "socket", peer.Socket(), "control socket of the director")
	f.StringVar(&o.lab, "lab", "", "look into every node of the lab `NAME`")
	f.DurationVar(&o.look, "for", doctorLook, "how long to look at packets")
	f.BoolVar(&o.json, "json", false, "print JSON")
	f.BoolVar(&o.watch, "watch", false, "look again and again until Ctrl-C, and print what changes")
	f.BoolVar(&o.facts, "facts", false, "print what was seen on this host, and judge nothing")
	f.StringSliceVar(&o.about, "about", nil, "with --facts: addresses whose routes matter, too")
	f.BoolVar(&o.probes, "probes", false, "ask the servers once, and print their answers")
	langFlag(cmd, &o.lang)
	_ = f.MarkHidden("about")
	_ = f.MarkHidden("probes")
	_ = cmd.RegisterFlagCompletionFunc("lab", completeLabs)
	return cmd
}

// printFacts prints the facts of this host as JSON: a lab's nodes are asked so.
func (o *doctorFlags) printFacts(ctx context.Context, w io.Writer) error {
	opts := doctor.Options{Socket: o.socket, Look: o.look}
	for _, text := range o.about {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("doctor: --about %s: not an address", text)
		}
		opts.About = append(opts.About, a)
	}
	return json.NewEncoder(w).Encode(doctor.Collect(ctx, opts))
}

// run looks once, or again and again, and ends the process with the report's status.
func (o *doctorFlags) run(ctx context.Context, w io.Writer) error {
	var last []doctor.Finding
	for first := true; ; first = false {
		scene, err := o.scene(ctx)
		if err != nil {
			return err
		}
		r := doctor.Diagnose(scene)
		if scene.Probes(&r) {
			scene.Probed(o.probe(ctx, scene))
			r = doctor.Diagnose(scene)
		}
		if ctx.Err() != nil && !first {
			return nil
		}
		if first || !doctor.Same(last, r.Findings) {
			if err := o.print(w, &r); err != nil {
				return err
			}
		}
		last = r.Findings
		switch {
		case !o.watch:
			if status := r.Status(); status != 0 {
				os.Exit(status)
			}
			return nil
		case ctx.Err() != nil:
			return nil
		}
	}
}

func (o *doctorFlags) print(w io.Writer, r *doctor.Report) error {
	if o.json {
		for i := range r.Findings {
			r.Findings[i].Why = doctor.Why(r.Findings[i].Code).In(o.tag)
		}
		return json.NewEncoder(w).Encode(r)
	}
	if o.watch {
		fmt.Fprintf(w, "%s\n", time.Now().Format(time.TimeOnly))
	}
	return r.Print(w, o.tag)
}

// scene collects the facts of this host, or of all nodes of a lab at once.
func (o *doctorFlags) scene(ctx context.Context) (*doctor.Scene, error) {
	if o.lab == "" {
		h := doctor.Collect(ctx, doctor.Options{Socket: o.socket, Look: o.look})
		return &doctor.Scene{Hosts: []*doctor.Host{h}}, nil
	}
	l, err := lab.Attach(o.lab)
	if err != nil {
		return nil, err
	}
	s := &doctor.Scene{Lab: &l.Topology, LabName: l.Name, Hosts: make([]*doctor.Host, len(l.Topology.Nodes))}
	errs := make([]error, len(l.Topology.Nodes))
	var all sync.WaitGroup
	for i := range l.Topology.Nodes {
		all.Go(func() { s.Hosts[i], errs[i] = o.node(l, l.Topology.Nodes[i].Name) })
	}
	all.Wait()
	return s, errors.Join(errs...)
}

// printProbes prints what the servers answer, as JSON: a lab's director is asked so.
func (o *doctorFlags) printProbes(ctx context.Context, w io.Writer) error {
	all, err := doctor.Probe(ctx, o.socket)
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(all)
}

// probe asks the servers of the scene's director.
func (o *doctorFlags) probe(ctx context.Context, s *doctor.Scene) (all doctor.Answers, err error) {
	if s.Lab == nil {
		return doctor.Probe(ctx, o.socket)
	}
	l, err := lab.Attach(s.LabName)
	if err != nil {
		return all, err
	}
	out, err := l.Exec(s.Serving(), "uvs", "doctor", "--probes")
	if err != nil {
		return all, err
	}
	return all, json.Unmarshal([]byte(out), &all)
}

// node asks one node of a lab for its facts.
func (o *doctorFlags) node(l *lab.Lab, name string) (*doctor.Host, error) {
	var about []string
	for _, a := range plannedAddresses(&l.Topology) {
		about = append(about, a.String())
	}
	out, err := l.Exec(name, "uvs", "doctor", "--facts", "--for", o.look.String(), "--about", strings.Join(about, ","))
	if err != nil {
		return nil, fmt.Errorf("doctor: %w", err)
	}
	h := &doctor.Host{}
	if err := json.Unmarshal([]byte(out), h); err != nil {
		return nil, fmt.Errorf("doctor: facts of %s: %w", name, err)
	}
	h.Name = name
	return h, nil
}

// plannedAddresses returns the addresses that a lab's plan names, FULLNAT's local ones included.
func plannedAddresses(t *lab.Topology) []netip.Addr {
	all := t.VIPs()
	for i := range t.Nodes {
		n := &t.Nodes[i]
		for _, iface := range n.Interfaces {
			for _, a := range iface.Addresses {
				all = append(all, a.Prefix.Addr())
			}
		}
		for _, c := range n.Setup {
			if at := slices.Index(c, "--laddr"); at >= 0 && at+1 < len(c) {
				if a, err := netip.ParseAddr(c[at+1]); err == nil {
					all = append(all, a)
				}
			}
		}
	}
	return all
}
