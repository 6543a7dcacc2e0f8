package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"uvs/bench/load"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"uvs/bench"
	"uvs/forwarder/afpacket"
	"uvs/lab/wire"
)

// benchCmd is the verb that measures.
func benchCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure layer-4 forwarding on this machine",
		Long: `Measures forwarders side by side, in namespaces of its own on this machine; it
needs no root and leaves nothing behind. docs/benchmarking.md says how each number
is made and how far it can be trusted.`,
	}
	return group(cmd,
		benchRunCmd(), benchFullCmd(),
		benchQuickCmd().Command, benchTCPCmd().Command, benchSearchCmd().Command,
		benchFairnessCmd().Command, benchDisruptCmd().Command, benchConnsCmd().Command, benchRecoveryCmd().Command,
		benchNoiseCmd(),
		benchCompareCmd(), benchTextCmd(), benchHTMLCmd(),
		benchTesterCmd(), benchNullCmd(), benchOnCmd(), benchServeCmd(),
	)
}

// minWindow is the shortest trial that says anything: a worker's time on the CPU
// is told in steps of a few milliseconds.
const minWindow = 10 * time.Millisecond

// benchFlags are those of the verbs that measure.
type benchFlags struct {
	options   bench.Options
	matrix    bench.Matrix
	modes     []string
	sizes     []string
	flows     []int
	rate      float64
	direction []string
	wire      string
	json      string
	html      string
	verbose   bool
}

func (f *benchFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "sched" {
			name = "scheduler"
		}
		return pflag.NormalizedName(name)
	})
	m := &f.matrix
	fl.StringSliceVar(&f.modes, "mode", []string{"null", "dr", "nat", "tun", "fullnat"}, fmt.Sprint("what to measure: of ", load.Methods))
	fl.StringSliceVar(&f.sizes, "size", []string{"64"}, "frame sizes in bytes on the wire, 64 to 1518, or imix")
	fl.IntSliceVar(&f.flows, "flows", []int{1000}, "how many flows")
	fl.StringSliceVar(&f.direction, "direction", []string{"request"}, "request, reply (from the servers), or both side by side")
	fl.Float64Var(&f.rate, "rate", 0, "frames a second to offer (0: as many as the generator can)")
	fl.StringSliceVar(&m.IO, "io", []string{"ring"}, "how directors receive: ring, socket")
	fl.StringSliceVar(&m.Profile, "profile", []string{"latency"}, "kinds of ring: latency, throughput")
	fl.StringSliceVar(&m.Scheduler, "scheduler", []string{"rr"}, "schedulers of the directors")
	fl.IntSliceVar(&m.Workers, "workers", []int{1}, "directors' receive workers an interface; with more than 1 nothing is pinned")
	fl.StringSliceVar(&m.State, "state", []string{"kept"}, "directors' state: kept (as by default), none, or both side by side")
	fl.StringSliceVar(&m.Offloads, "offloads", []string{"on"}, "checksum and segmentation offload: on, off, or both side by side")
	fl.StringVar(&m.Against, "against", "", "measure the `BINARY` of another version of uvs as well, in the same run")
	fl.StringVar(&f.wire, "wire", "", "impair the client's links by these `WORDS` (uvs lab link)")
	fl.StringVar(&f.options.Baseline, "baseline", "", "`TARGET` that others are compared with (the null forwarder; for TCP another balancer)")
	fl.BoolVar(&f.options.Once, "once", false, "measure no target twice: no A/A run")
	fl.IntVar(&f.options.Servers, "servers", 1, "real servers, all of them addresses of one node")
	fl.IntVar(&f.options.Rounds, "rounds", 8, "how often each target is measured")
	fl.DurationVar(&f.options.Window, "window", 500*time.Millisecond, "length of a trial")
	fl.DurationVar(&f.options.Warm, "warm", 200*time.Millisecond, "time before each trial to settle")
	fl.StringVar(&f.json, "json", "", "write everything to `FILE`, - for standard output instead of the table")
	fl.StringVar(&f.html, "html", "", "write one page with plots to `FILE`")
	fl.BoolVarP(&f.verbose, "verbose", "v", false, "show what the forwarders print")
}

// complete fills the options from the flags.
func (f *benchFlags) complete() error {
	o := &f.options
	for _, m := range f.modes {
		f.matrix.Mode = append(f.matrix.Mode, load.Method(m))
	}
	targets, err := f.matrix.Targets()
	if err != nil {
		return err
	}
	o.Targets = targets
	if o.Wire, err = wire.Parse(f.wire); err != nil {
		return fmt.Errorf("--wire: %w", err)
	}
	for _, s := range f.sizes {
		size, err := strconv.Atoi(s)
		if s == "imix" {
			size, err = 0, nil
		} else if err != nil || size < 64 || size > 1518 {
			return fmt.Errorf("--size %s: 64 to 1518, or imix", s)
		}
		for _, n := range f.flows {
			if n < 1 || n > 1<<24 {
				return fmt.Errorf("--flows %d: 1 to 16777216", n)
			}
			for _, d := range f.direction {
				if d != "request" && d != "reply" {
					return fmt.Errorf("--direction %s: request or reply", d)
				}
				o.Loads = append(o.Loads, load.Load{Size: size, Flows: n, Rate: f.rate, Reply: d == "reply"})
			}
		}
	}
	if o.Rounds < 0 {
		return fmt.Errorf("--rounds %d: at least 1", o.Rounds)
	}
	if o.Window < minWindow || o.Warm < 0 {
		return fmt.Errorf("--window %s, --warm %s: a trial of %s at least, after no negative time", o.Window, o.Warm, minWindow)
	}
	if o.Servers < 1 || o.Servers > bench.MaxFarServers {
		return fmt.Errorf("--servers %d: 1 to %d", o.Servers, bench.MaxFarServers)
	}
	if f.verbose {
		o.Log = os.Stderr
	}
	return nil
}

// parts completes the options, and has each measure take them.
func (f *benchFlags) parts(measures ...bench.Measure) ([]bench.Part, error) {
	if err := f.complete(); err != nil {
		return nil, err
	}
	var parts []bench.Part
	for _, m := range measures {
		parts = append(parts, bench.Part{Measure: m, Options: f.options})
	}
	return parts, nil
}

// measureCmd is a command that measures. A part of a scenario is one, too: it sets
// the flags and takes the parts.
type measureCmd struct {
	*cobra.Command
	flags benchFlags
	// measures says what to measure when the flags are set.
	measures func() ([]bench.Part, error)
}

// newMeasureCmd gives a command the flags of all that measure, and runs what they
// say.
func newMeasureCmd(cmd *cobra.Command) *measureCmd {
	m := &measureCmd{Command: cmd}
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		parts, err := m.parts()
		if err != nil {
			return err
		}
		r, err := measureAll(cmd.Context(), cmd.Name(), parts)
		return errors.Join(m.flags.show(cmd.OutOrStdout(), r), err, unfinished(r), notSustained(r))
	}
	m.flags.add(cmd)
	return m
}

// parts are what the flags say, if that is anything.
func (m *measureCmd) parts() ([]bench.Part, error) {
	parts, err := m.measures()
	if err == nil && (len(parts) == 0 || slices.ContainsFunc(parts, func(p bench.Part) bool { return p.Options.Rounds < 1 })) {
		err = errors.New("--rounds 0: there is nothing to measure")
	}
	return parts, err
}

// measureAll measures until it is done or interrupted.
func measureAll(ctx context.Context, kind string, parts []bench.Part) (*bench.Report, error) {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM)
	defer stop()
	show, clear := progress()
	defer clear()
	for i := range parts {
		parts[i].Options.Progress, parts[i].Options.Command = show, command(os.Args[1:])
	}
	return bench.Run(ctx, kind, parts...)
}

// command is what was typed, without the folders of files: a report names no
// place.
func command(args []string) []string {
	all := slices.Clone(args)
	for i, a := range all {
		flag, path, ok := strings.Cut(a, "=")
		switch {
		case ok && strings.HasPrefix(a, "--") && filepath.Base(path) != path && looksLikePath(path):
			all[i] = flag + "=" + filepath.Base(path)
		case looksLikePath(a):
			all[i] = filepath.Base(a)
		}
	}
	return all
}

func looksLikePath(s string) bool {
	for _, p := range []string{"/", "./", "../", "~"} {
		if strings.HasPrefix(s, p) {
			return true
		}
	}
	return strings.Contains(s, "/") && filepath.Ext(s) != ""
}

func benchQuickCmd() *measureCmd {
	m := newMeasureCmd(&cobra.Command{
		Use:   "quick",
		Short: "Packets/s and CPU time per packet of each mode, beside a null forwarder",
	})
	m.measures = func() ([]bench.Part, error) { return m.flags.parts(bench.Quick) }
	return m
}

// show writes a report where the flags say.
func (f *benchFlags) show(w io.Writer, r *bench.Report) error {
	if r == nil {
		return nil
	}
	if f.html != "" {
		if err := writeFile(f.html, r.HTML); err != nil {
			return err
		}
	}
	if f.json == "-" {
		return r.Write(w)
	}
	if f.json != "" {
		if err := writeFile(f.json, r.Write); err != nil {
			return err
		}
	}
	return r.Print(w)
}

// writeFile writes one form of a report.
func writeFile(name string, write func(io.Writer) error) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(write(file), file.Close())
}

// progress shows on a terminal what goes on, in one line that is written over.
func progress() (show func(string), clear func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil, func() {}
	}
	show = func(s string) {
		width, _, err := term.GetSize(int(os.Stderr.Fd()))
		if err == nil && len(s) >= width {
			s = s[:max(width-1, 0)]
		}
		fmt.Fprintf(os.Stderr, "\r%s\x1b[K", s)
	}
	return show, func() { fmt.Fprint(os.Stderr, "\r\x1b[K") }
}

func benchSearchCmd() *measureCmd {
	trials := 5
	m := newMeasureCmd(&cobra.Command{
		Use:   "search",
		Short: "The highest rates with no loss (NDR) and little (PDR), and latency below them",
	})
	m.measures = func() ([]bench.Part, error) {
		m.flags.options.Goals = bench.Goals(m.flags.options.Window, trials)
		return m.flags.parts(bench.Search)
	}
	m.flags.preset(m.Command, map[string]string{"rounds": "1"})
	m.Flags().IntVar(&trials, "trials", 5, "trials at a load that decide, half of which may fail")
	return m
}

func benchTCPCmd() *measureCmd {
	var kinds []string
	m := newMeasureCmd(&cobra.Command{
		Use:   "tcp",
		Short: "Connections/s, requests/s, round trips and bulk TCP beside other balancers",
		Long: `Measures real TCP connections through the director, the kernel's forwarding
(route), nftables DNAT (nft), HAProxy and nginx stream, each where it is installed.`,
	})
	o := &m.flags.options
	m.measures = func() ([]bench.Part, error) {
		for _, k := range kinds {
			if !slices.Contains(load.Kinds, load.Kind(k)) {
				return nil, fmt.Errorf("--kind %s: of %v", k, load.Kinds)
			}
			o.Kinds = append(o.Kinds, load.Kind(k))
		}
		return m.flags.parts(bench.TCP)
	}
	fl := m.Flags()
	fl.StringSliceVar(&kinds, "kind", []string{"connect", "request", "pingpong", "bulk"}, "what the connections do")
	fl.IntVar(&o.Conns, "conns", 32, "connections at a time; pingpong has 1, bulk 4 at most")
	m.flags.preset(m.Command, map[string]string{"mode": "route,nft,nat,fullnat,haproxy,nginx", "window": "1s", "rounds": "4"})
	hide(m.Command, "size", "flows", "rate", "direction")
	return m
}

func benchNoiseCmd() *cobra.Command {
	var d time.Duration
	cmd := &cobra.Command{
		Use:   "noise",
		Short: "How quiet is this machine?",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), load.MeasureNoise(d))
		},
	}
	cmd.Flags().DurationVar(&d, "for", 4*time.Second, "how long to watch")
	return cmd
}

// The three processes of a bench lab.

func benchTesterCmd() *cobra.Command {
	return &cobra.Command{
		Use: "tester", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return load.Serve() },
	}
}

func benchOnCmd() *cobra.Command {
	cpu := -1
	cmd := &cobra.Command{
		Use: "on -- CMD...", Hidden: true, Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return load.Exec(cpu, args) },
	}
	cmd.Flags().IntVar(&cpu, "cpu", -1, "CPU to bind to")
	return cmd
}

func benchNullCmd() *cobra.Command {
	c := bench.NullConfig{In: "eth0", Out: "eth1"}
	var to, back, vip, profile string
	cmd := &cobra.Command{
		Use: "null", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) (err error) {
			if c.Dst, err = net.ParseMAC(to); err != nil {
				return err
			}
			if back != "" {
				if c.Back, err = net.ParseMAC(back); err != nil {
					return err
				}
			}
			if c.VIP, err = netip.ParseAddr(vip); err != nil {
				return err
			}
			if c.Profile, err = afpacket.ParseProfile(profile); err != nil {
				return err
			}
			return bench.RunNull(c)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "MAC address of what is behind")
	cmd.Flags().StringVar(&back, "back", "", "MAC address of what is in front")
	cmd.Flags().StringVar(&vip, "vip", "", "virtual address")
	cmd.Flags().StringVar(&c.IO, "io", "ring", "kind of port")
	cmd.Flags().StringVar(&profile, "profile", "latency", "kind of ring")
	return cmd
}
