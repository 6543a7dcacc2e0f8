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

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"uvs/bench"
	"uvs/forwarder/afpacket"
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
		benchQuickCmd(), benchTCPCmd(), benchSearchCmd(),
		benchFairnessCmd(), benchDisruptCmd(), benchConnsCmd(), benchRecoveryCmd(),
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
	fl.StringSliceVar(&f.modes, "mode", []string{"null", "dr", "nat", "tun", "fullnat"}, fmt.Sprint("what to measure: of ", bench.Methods))
	fl.StringSliceVar(&f.sizes, "size", []string{"64"}, "frame sizes in bytes on the wire, 64 to 1518, or imix")
	fl.IntSliceVar(&f.flows, "flows", []int{1000}, "how many flows")
	fl.StringSliceVar(&f.direction, "direction", []string{"request"}, "request, reply (from the servers), or both side by side")
	fl.Float64Var(&f.rate, "rate", 0, "frames a second to offer (0: as many as the generator can)")
	fl.StringSliceVar(&m.IO, "io", []string{"ring"}, "how directors receive: ring, socket")
	fl.StringSliceVar(&m.Profile, "profile", []string{"latency"}, "kinds of ring: latency, throughput")
	fl.StringSliceVar(&m.Scheduler, "scheduler", []string{"rr"}, "schedulers of the directors")
	fl.IntSliceVar(&m.Workers, "workers", []int{1}, "directors' receive workers an interface; with more than 1 nothing is pinned")
	fl.StringSliceVar(&m.Offloads, "offloads", []string{"on"}, "checksum and segmentation offload: on, off, or both side by side")
	fl.StringVar(&m.Against, "against", "", "measure the `BINARY` of another version of uvs as well, in the same run")
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
		f.matrix.Mode = append(f.matrix.Mode, bench.Method(m))
	}
	targets, err := f.matrix.Targets()
	if err != nil {
		return err
	}
	o.Targets = targets
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
				o.Loads = append(o.Loads, bench.Load{Size: size, Flows: n, Rate: f.rate, Reply: d == "reply"})
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

// run measures, each measure with the same options.
func (f *benchFlags) run(cmd *cobra.Command, kind string, measures ...bench.Measure) error {
	var parts []bench.Part
	for _, m := range measures {
		parts = append(parts, bench.Part{Measure: m, Options: f.options})
	}
	return f.runParts(cmd, kind, parts...)
}

// runParts measures, and shows or writes what came out, also of a run that ended
// early. In a scenario it only says what it would measure.
func (f *benchFlags) runParts(cmd *cobra.Command, kind string, parts ...bench.Part) error {
	if len(parts) == 0 || slices.ContainsFunc(parts, func(p bench.Part) bool { return p.Options.Rounds < 1 }) {
		return errors.New("--rounds 0: there is nothing to measure")
	}
	if s, ok := cmd.Context().Value(scenarioKey{}).(*scenario); ok {
		s.parts = append(s.parts, parts...)
		return nil
	}
	r, err := measureAll(cmd.Context(), kind, parts)
	return errors.Join(f.show(cmd.OutOrStdout(), r), err, unfinished(r), notSustained(r))
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

func benchQuickCmd() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:   "quick",
		Short: "Packets/s and CPU time per packet of each mode, beside a null forwarder",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.complete(); err != nil {
				return err
			}
			return f.run(cmd, "quick", bench.Quick)
		},
	}
	f.add(cmd)
	return cmd
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

func benchSearchCmd() *cobra.Command {
	var f benchFlags
	trials := 5
	cmd := &cobra.Command{
		Use:   "search",
		Short: "The highest rates with no loss (NDR) and little (PDR), and latency below them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.complete(); err != nil {
				return err
			}
			f.options.Goals = bench.Goals(f.options.Window, trials)
			return f.run(cmd, "search", bench.Search)
		},
	}
	f.add(cmd)
	f.preset(cmd, map[string]string{"rounds": "1"})
	cmd.Flags().IntVar(&trials, "trials", 5, "trials at a load that decide, half of which may fail")
	return cmd
}

func benchTCPCmd() *cobra.Command {
	var f benchFlags
	var kinds []string
	cmd := &cobra.Command{
		Use:   "tcp",
		Short: "Connections/s, requests/s, round trips and bulk TCP beside other balancers",
		Long: `Measures real TCP connections through the director, the kernel's forwarding
(route), nftables DNAT (nft), HAProxy and nginx stream, each where it is installed.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.complete(); err != nil {
				return err
			}
			for _, k := range kinds {
				if !slices.Contains(bench.Kinds, bench.Kind(k)) {
					return fmt.Errorf("--kind %s: of %v", k, bench.Kinds)
				}
				f.options.Kinds = append(f.options.Kinds, bench.Kind(k))
			}
			return f.run(cmd, "tcp", bench.TCP)
		},
	}
	f.add(cmd)
	fl := cmd.Flags()
	fl.StringSliceVar(&kinds, "kind", []string{"connect", "request", "pingpong", "bulk"}, "what the connections do")
	fl.IntVar(&f.options.Conns, "conns", 32, "connections at a time; pingpong has 1, bulk 4 at most")
	f.preset(cmd, map[string]string{"mode": "route,nft,nat,fullnat,haproxy,nginx", "window": "1s", "rounds": "4"})
	hide(cmd, "size", "flows", "rate", "direction")
	return cmd
}

func benchNoiseCmd() *cobra.Command {
	var d time.Duration
	cmd := &cobra.Command{
		Use:   "noise",
		Short: "How quiet is this machine?",
		Args:  cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			fmt.Fprintln(cmd.OutOrStdout(), bench.MeasureNoise(d))
		},
	}
	cmd.Flags().DurationVar(&d, "for", 4*time.Second, "how long to watch")
	return cmd
}

// The three processes of a bench lab.

func benchTesterCmd() *cobra.Command {
	return &cobra.Command{
		Use: "tester", Hidden: true, Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return bench.Serve() },
	}
}

func benchOnCmd() *cobra.Command {
	cpu := -1
	cmd := &cobra.Command{
		Use: "on -- CMD...", Hidden: true, Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return bench.Exec(cpu, args) },
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
