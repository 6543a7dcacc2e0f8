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

	"github.com/spf13/cobra"

	"uvs/forwarder/afpacket"
	"uvs/forwarder/config"
	"uvs/forwarder/director"
	"uvs/internal/control"
	"uvs/internal/events"
	"uvs/internal/fdstore"
	"uvs/internal/lean"
)

// directorFlags are the options of `uvs director`.
type directorFlags struct {
	director.Config
	profile    string
	gro        string
	localPorts string
	syncFrom   []string
	syncKey    string
	verbose    bool
	background bool
	keep       bool
	clean      bool
	web        string
	webToken   string
}

func directorCmd() *cobra.Command {
	o := directorFlags{Config: director.Defaults()}
	cmd := &cobra.Command{
		Use:   "director",
		Short: "Run the director of this network namespace in the foreground",
		Long: `Run the director of this network namespace in the foreground until SIGTERM or
SIGINT. It works on all interfaces that are up, unless -i names some,
and follows those that come and go. Configure it with ipvsadm (see uvs link).

It goes on where the last one was killed or stopped (--state). With --keep, or as a
systemd unit, it is started again when it dies, and packets wait meanwhile. --replace
takes over from a running director, after an upgrade say. SIGHUP loads the rules
file, SIGUSR2 ends it and leaves everything to the next one.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDirector(cmd.Context(), &o) },
	}
	f := cmd.Flags()
	f.StringSliceVarP(&o.Interfaces, "interface", "i", nil, "work on this interface only (may be repeated)")
	f.IntVar(&o.Workers, "workers", 0, "receive workers in all (0: one for each CPU)")
	f.StringVar(&o.IO, "io", o.IO, "how frames are received: ring, socket (portable, slow), or tap:NAME: rings, and besides a device made here for the host itself or a virtual machine")
	f.StringVar(&o.profile, "profile", "latency", "kind of ring: latency or throughput")
	f.StringVar(&o.gro, "gro", "auto", "join the TCP segments of senders that do not segment offload (generic receive offload; ring and tap only, restored at the end): auto (veth), on, off (leave interfaces as they are)")
	f.StringVar(&o.Rules, "rules", "", "file to load rules from at the start and on SIGHUP, and to save them to at the end")
	f.StringVar(&o.State, "state", "", "directory for what the next director is to find after a kill or a stop, on tmpfs; none: nothing; memory: files without a name (default: one for each network namespace, in /run/uvs or $XDG_RUNTIME_DIR/uvs)")
	f.StringVar(&o.Socket, "socket", o.Socket, "control socket: @NAME is abstract, anything else a path")
	f.IntVar(&o.Conns, "conns", 0, "largest number of connections (0: 4194304)")
	f.StringVar(&o.localPorts, "local-ports", "5000-65535", "ports of FULLNAT's local addresses")
	f.Uint8Var(&o.TOA, "toa-kind", o.TOA, "TCP option that tells FULLNAT servers the client's address (0: none)")
	f.StringVar((*string)(&o.Sync.Trust), "sync-trust", "", "what a synchronization backup believes: kernel (all that it is told, as IPVS does) or servers (only connections to servers of its services, for bounded times) (default: servers with --sync-key, else kernel)")
	f.StringSliceVar(&o.syncFrom, "sync-from", nil, "addresses or networks from which a synchronization backup takes connections (default: any on its segment)")
	f.StringVar(&o.syncKey, "sync-key", "", "file with a secret that signs synchronized connections between two directors of this kind; what is not signed with it is refused (a kernel cannot take part)")
	f.BoolVar(&o.NoGuard, "no-guard", false, "do not keep the host's own stack away from what is served")
	f.DurationVar(&o.AnnounceEvery, "announce-every", o.AnnounceEvery, "interval of gratuitous ARP for all virtual addresses (negative: never)")
	f.StringVar((*string)(&o.VIPRole), "vip-role", string(config.VIPAlways), "when to answer for virtual addresses, by ARP and neighbour discovery, unless their service has a role of its own (uvs vip): always, host (only while the host has the address, as VRRP gives it), none (serve what is routed here)")
	f.StringVar(&o.Metrics, "metrics", "", "where Prometheus finds this director, at /metrics: a port (of the loopback address), ADDRESS:PORT, or the path of a unix socket")
	f.BoolVar(&o.Share, "share", false, "start although another director works in this network namespace; see to it that they serve different addresses")
	f.BoolVar(&o.Replace, "replace", false, "take over from the director that runs here: no connection breaks, no packet is lost; if this one cannot start, that one goes on")
	f.BoolVar(&o.keep, "keep", false, "run the director as a child that is started again when it dies, and keep its sockets meanwhile, as systemd does")
	f.BoolVar(&o.clean, "clean", false, "undo what a killed director has left, and its state, and end: GRO, neighbour entries, the nftables table (only where none runs)")
	f.StringVar(&o.web, "web", "", "serve a page for the browser at this TCP address, such as "+webAddress+" (uvs web is the same as a process of its own)")
	f.StringVar(&o.webToken, "web-token-file", "", "file with the page's token; it is made if it is missing (default: a new token each time, in the log)")
	f.BoolVar(&o.background, "background", false, "write to standard error only until it answers")
	_ = f.MarkHidden("background") // for UVS_AUTOSTART, whose command takes the output's reader with it
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log more")
	return cmd
}

func runDirector(ctx context.Context, o *directorFlags) error {
	o.Events = events.New()
	log := slog.New(o.Events.Handler(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: logLevel(o.verbose)})))
	c, err := o.config(log)
	if err != nil {
		return err
	}
	if o.clean {
		return cleanHost(c)
	}
	keepCapabilities(o.Rules, log)
	switch {
	case o.keep && os.Getenv("NOTIFY_SOCKET") == "":
		return keepDirector(log)
	case o.keep && !managerKeeps(os.Getenv):
		log.Warn("--keep is left to the service manager, which does not say that it keeps descriptors (systemd does since version 254): the unit needs FileDescriptorStoreMax= and Restart=")
	}
	if c.Store, err = fdstore.FromEnv(); err != nil {
		return err
	}
	c.OnReady = o.onReady(c.Store, log)
	if err := o.serveWeb(ctx, log); err != nil {
		return err
	}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGUSR2) // which is ignored otherwise until somebody wants it
	for {
		d, err := director.New(ctx, c)
		if err != nil {
			return flagError(err)
		}
		signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR2)
		running, stop := context.WithCancel(ctx)
		go follow(running, stop, d, c.Store, signals, log)
		err = d.Run(running)
		stop()
		if !errors.Is(err, director.ErrNotReplaced) {
			return err
		}
		log.Error("this director goes on", "event", "take-over-failed", "err", err)
	}
}

// follow does what signals ask of a director: SIGTERM and SIGINT end it, SIGUSR2 ends it and
// leaves everything to the next, SIGHUP loads the rules file.
func follow(ctx context.Context, stop func(), d *director.Director, store *fdstore.Store, signals <-chan os.Signal, log *slog.Logger) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-signals:
			switch s {
			case syscall.SIGHUP:
				if err := d.Reload(ctx); err != nil {
					log.Error("the rules stay as they are", "event", "rules-refused", "error", err)
				}
				continue
			case syscall.SIGUSR2:
				d.Leave()
			default:
				stop()
			}
			if err := store.Notify("STOPPING=1"); err != nil {
				log.Warn(err.Error())
			}
		}
	}
}

// config returns the director that the flags ask for.
func (o *directorFlags) config(log *slog.Logger) (director.Config, error) {
	c := o.Config
	c.Version, c.Log = version(), log
	var err error
	if c.GRO, err = afpacket.ParseGRO(o.gro); err != nil {
		return c, fmt.Errorf("--gro: %w", err)
	}
	if c.Profile, err = afpacket.ParseProfile(o.profile); err != nil {
		return c, fmt.Errorf("--profile: %w", err)
	}
	p := &c.LocalPorts
	if n, _ := fmt.Sscanf(o.localPorts, "%d-%d", &p[0], &p[1]); n != 2 || p[0] == 0 || p[0] > p[1] {
		return c, fmt.Errorf("--local-ports %q: FIRST-LAST, from 1 to 65535, such as 5000-65535", o.localPorts)
	}
	if c.Sync.Sources, err = syncSources(o.syncFrom); err != nil {
		return c, err
	}
	if o.syncKey != "" {
		c.Sync.Key, err = readSyncKey(o.syncKey)
	}
	return c, err
}

// onReady returns what is done when the director works.
func (o *directorFlags) onReady(store *fdstore.Store, log *slog.Logger) func() {
	return func() {
		if o.background {
			discardStderr()
		}
		if err := store.Notify("READY=1"); err != nil {
			log.Warn(err.Error())
		}
		go lean.NoPPP() // and what else only the start needed
	}
}

// flagOf is the flag that sets a field of director.Config.
var flagOf = map[string]string{
	"Workers": "--workers", "Conns": "--conns", "IO": "--io", "VIPRole": "--vip-role", "Sync.Trust": "--sync-trust",
	"Metrics": "--metrics",
}

// flagError names the flags that an error is about, or that help.
func flagError(err error) error {
	var field *director.FieldError
	if errors.As(err, &field) && flagOf[field.Field] != "" {
		return fmt.Errorf("%s %s: %s", flagOf[field.Field], field.Value, field.Want)
	}
	if errors.Is(err, control.ErrInUse) {
		return fmt.Errorf("%w; a second one in this network namespace takes --share and a --socket of its own", err)
	}
	return err
}

func logLevel(verbose bool) slog.Level {
	if verbose {
		return slog.LevelDebug
	}
	return slog.LevelInfo
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
