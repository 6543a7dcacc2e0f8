package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"uvs/forwarder"
	"uvs/forwarder/afpacket"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
	"uvs/forwarder/neigh"
	"uvs/internal/control"
	"uvs/internal/peer"
	"uvs/modes"
)

// directorFlags are the options of `uvs director`.
type directorFlags struct {
	interfaces    []string
	workers       int
	io, profile   string
	gro           string
	rules         string
	socket        string
	conns         int
	localPorts    string
	toa           uint8
	noGuard       bool
	announceEvery time.Duration
	verbose       bool
	share         bool
	background    bool
}

func directorCmd() *cobra.Command {
	var o directorFlags
	cmd := &cobra.Command{
		Use:   "director",
		Short: "Run the director of this network namespace in the foreground",
		Long: `Run the director of this network namespace in the foreground until SIGTERM or
SIGINT. It works on all interfaces that are up, unless -i names some,
and follows those that come and go. Configure it with ipvsadm (see uvs link).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDirector(cmd.Context(), &o) },
	}
	f := cmd.Flags()
	f.StringSliceVarP(&o.interfaces, "interface", "i", nil, "work on this interface only (may be repeated)")
	f.IntVar(&o.workers, "workers", 0, "receive workers in all (0: one for each CPU)")
	f.StringVar(&o.io, "io", "ring", "how frames are received: ring, socket (portable, slow), or tap:NAME: rings, and besides a device made here for the host itself or a virtual machine")
	f.StringVar(&o.profile, "profile", "latency", "kind of ring: latency or throughput")
	f.StringVar(&o.gro, "gro", "auto", "join the TCP segments of senders that do not segment offload (generic receive offload; ring and tap only, restored at the end): auto (veth), on, off (leave interfaces as they are)")
	f.StringVar(&o.rules, "rules", "", "file to load rules from at the start and on SIGHUP, and to save them to at the end")
	f.StringVar(&o.socket, "socket", peer.Socket(), "control socket: @NAME is abstract, anything else a path")
	f.IntVar(&o.conns, "conns", 0, "largest number of connections (0: 4194304)")
	f.StringVar(&o.localPorts, "local-ports", "5000-65535", "ports of FULLNAT's local addresses")
	f.Uint8Var(&o.toa, "toa-kind", modes.TOAKind, "TCP option that tells FULLNAT servers the client's address (0: none)")
	f.BoolVar(&o.noGuard, "no-guard", false, "do not keep the host's own stack away from what is served")
	f.DurationVar(&o.announceEvery, "announce-every", neigh.DefaultAnnounceEvery, "interval of gratuitous ARP for all virtual addresses (negative: never)")
	f.BoolVar(&o.share, "share", false, "start although another director works in this network namespace; see to it that they serve different addresses")
	f.BoolVar(&o.background, "background", false, "write to standard error only until it answers")
	_ = f.MarkHidden("background") // for UVS_AUTOSTART, whose command takes the output's reader with it
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log more")
	return cmd
}

// director is a running director with its rules file.
type director struct {
	fw    *forwarder.Forwarder
	log   *slog.Logger
	rules rulesFile
}

func runDirector(ctx context.Context, o *directorFlags) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: logLevel(o.verbose)}))
	listener, err := control.Listen(o.socket)
	if err != nil {
		return err
	}
	defer listener.Close()
	here, err := present(o, log)
	if err != nil {
		return err
	}
	defer here.Close()
	gro, err := newGRO(o.gro, log)
	if err != nil {
		return err
	}
	defer restore(gro, log)
	fw, err := newForwarder(o, gro, log)
	if errors.Is(err, os.ErrPermission) {
		return fmt.Errorf("%w: a director needs CAP_NET_ADMIN and CAP_NET_RAW (be root; `uvs lab` works without)", err)
	}
	if err != nil {
		return err
	}
	fw.Unicast = (&localNetworks{}).unicast
	d := &director{fw: fw, log: log, rules: rulesFile{path: o.rules}}
	if err := d.load(ctx); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	go d.reload(ctx, hup)
	server := control.NewServer(fw, config.About{Program: "uvs", Version: version(), PID: os.Getpid()}, log)
	defer server.Close()
	defer here.Close() // first: a user who sees that no director answers may start one
	go func() {
		d.ready(o.background)
		server.Serve(listener)
	}()
	err = fw.Run(ctx)
	if errors.Is(err, context.Canceled) {
		return d.save(context.WithoutCancel(ctx))
	}
	return err
}

// ready returns when the director receives frames. Only then does its control socket answer,
// so a client that gets an answer can rely on no frame being missed.
func (d *director) ready(background bool) {
	<-d.fw.Ready()
	if background {
		discardStderr()
	}
	if err := notifyReady(); err != nil {
		d.log.Warn(err.Error())
	}
}

// present makes the director known in its network namespace, and fails if another is there,
// unless the user wants to share. If the system does not allow it to be known, it starts all
// the same: the Presence is nil then.
func present(o *directorFlags, log *slog.Logger) (*control.Presence, error) {
	p, err := control.Present(control.Introduction{PID: os.Getpid(), Interfaces: o.interfaces, Socket: o.socket})
	if err != nil {
		log.Warn("a second director in this network namespace will not know of this one", "err", err)
		return nil, nil
	}
	if o.share {
		return p, nil
	}
	if err := p.CheckAlone(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func logLevel(verbose bool) slog.Level {
	if verbose {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// maxWorkers is how many sockets share an interface by default
// (PACKET_FANOUT_MAX).
const maxWorkers = 256

// maxConns is how many connections a table can have.
const maxConns = 1<<30 - 1

func newGRO(mode string, log *slog.Logger) (*afpacket.GRO, error) {
	m, err := afpacket.ParseGRO(mode)
	if err != nil {
		return nil, fmt.Errorf("--gro: %w", err)
	}
	return &afpacket.GRO{Mode: m, Log: log}, nil
}

// restore leaves the interfaces' GRO as the director found it.
func restore(gro *afpacket.GRO, log *slog.Logger) {
	if err := gro.Restore(); err != nil {
		log.Warn("interfaces", "err", err)
	}
}

// newForwarder builds the director of this network namespace.
func newForwarder(o *directorFlags, gro *afpacket.GRO, log *slog.Logger) (*forwarder.Forwarder, error) {
	var ports [2]uint16
	if n, _ := fmt.Sscanf(o.localPorts, "%d-%d", &ports[0], &ports[1]); n != 2 || ports[0] == 0 || ports[0] > ports[1] {
		return nil, fmt.Errorf("--local-ports %q: FIRST-LAST, from 1 to 65535, such as 5000-65535", o.localPorts)
	}
	if o.workers < 0 || o.workers > maxWorkers {
		return nil, fmt.Errorf("--workers %d: 0 to %d", o.workers, maxWorkers)
	}
	if o.conns < 0 || o.conns > maxConns {
		return nil, fmt.Errorf("--conns %d: 1 to %d (0: 4194304)", o.conns, maxConns)
	}
	driver, err := newDriver(o.io, o.profile, gro, log)
	if err != nil {
		return nil, err
	}
	var fw *forwarder.Forwarder
	g, lacking := newGuard(o.noGuard, log)
	table, err := neigh.New(neigh.Config{
		TellHost:      g != nil && g.LeadsHost(),
		Send:          func(_ int, frames []frame.Frame) { fw.Emit(frames) },
		Count:         func(v frame.Verdict, n int) { fw.Count(v, n) },
		AnnounceEvery: o.announceEvery,
		Log:           log,
	})
	if err != nil {
		return nil, err
	}
	if lacking != nil {
		log.Warn("no guard", "why", lacking, "then", withoutGuard)
	}
	c := forwarder.Config{
		Driver: driver, Neighbours: table, Interfaces: o.interfaces, Workers: o.workers,
		HostLink: hostLink(o.io), MaxConns: o.conns, LocalPorts: ports, TOA: o.toa, Log: log,
	}
	if g != nil {
		c.Guard = g
	}
	fw, err = forwarder.New(c)
	return fw, err
}

// withoutGuard is what goes wrong where no guard keeps the host's stack away.
const withoutGuard = "a virtual address on an interface of this host gets its clients reset by the host, and with ip_forward=1 replies leave untranslated besides"

// newGuard returns the guard, or nil and why there is none.
func newGuard(off bool, log *slog.Logger) (*guard.Guard, error) {
	if off {
		return nil, errors.New("--no-guard")
	}
	return guard.New(log)
}

// version returns what `uvs --version` prints: the module's version or the
// revision it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return s.Value[:12]
		}
	}
	return info.Main.Version
}
