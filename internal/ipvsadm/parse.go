package ipvsadm

import (
	"net/netip"
	"strings"

	"uvs/forwarder/config"
	"uvs/sched"
)

// defaultPersistence is the timeout of -p without a value, in seconds.
const defaultPersistence = 360

// defaultInterface is the interface of the synchronization daemons.
const defaultInterface = "eth0"

// request is a parsed command line.
type request struct {
	command  option
	given    set
	service  config.Service
	server   config.Server
	local    netip.Addr
	daemon   config.Daemon
	timeouts config.Timeouts
	flags    string // what -b says; its meaning depends on the scheduler
}

// parse reads one command line, without the program's name.
func (t *Tool) parse(words []string) (*request, error) {
	r := &request{server: config.NewServer()}
	s := &scanner{specs: grammar(), words: words}
	opt, arg, ok, err := s.scan()
	if err != nil || !ok || opt < cmdAddService {
		return nil, t.tryHelp()
	}
	if err := r.begin(opt, arg); err != nil {
		return nil, err
	}
	if opt == cmdHelp || opt == cmdVersion {
		return r, nil // whatever follows
	}
	for {
		opt, arg, ok, err := s.scan()
		if err != nil {
			return nil, failure(s.current() + ": " + err.Error())
		}
		if !ok {
			break
		}
		if opt >= cmdAddService {
			return nil, fail("invalid option `%s'", s.current())
		}
		if err := t.parseOption(r, opt, arg); err != nil {
			return nil, err
		}
	}
	return r, r.finish(s.rest)
}

// begin handles the first option, which is the command.
func (r *request) begin(opt option, arg *string) error {
	r.command = opt
	if opt != cmdStartDaemon && opt != cmdStopDaemon {
		return nil
	}
	r.daemon.State = config.DaemonState(*arg)
	if r.daemon.State == config.Master || r.daemon.State == config.Backup {
		return nil
	}
	if opt == cmdStartDaemon {
		return fail("illegal start-daemon parameter specified")
	}
	return fail("illegal start_daemon specified")
}

// finish reads the arguments that are not options and checks the whole command.
func (r *request) finish(rest []string) error {
	if r.command == cmdSet {
		if len(rest) < 3 {
			return fail("--set option requires 3 timeout values")
		}
		for i, value := range []*uint32{&r.timeouts.TCP, &r.timeouts.TCPFin, &r.timeouts.UDP} {
			var err error
			if *value, err = timeout(rest[i], 0); err != nil {
				return err
			}
		}
		rest = rest[3:]
	}
	if len(rest) > 0 {
		return fail("unexpected argument %s", rest[0])
	}
	if err := r.finishFlags(); err != nil {
		return err
	}
	if err := rules[r.command].check(r.given); err != nil {
		return err
	}
	switch r.command {
	case cmdAddService, cmdEditService:
		return r.finishService()
	case cmdAddServer, cmdEditServer:
		return r.finishServer()
	case cmdList:
		return r.finishList()
	case cmdStartDaemon:
		if r.daemon.Interface == "" {
			r.daemon.Interface = defaultInterface
		}
	}
	return nil
}

func (r *request) finishService() error {
	v := &r.service
	if v.Mark == 0 && v.Port == 0 && v.Persistent == 0 {
		return fail("Zero port specified for non-persistent service")
	}
	if v.Mark == 0 && v.Proto != config.UDP && v.OnePacket {
		return fail("One-Packet Scheduling is only for UDP virtual services")
	}
	if v.Scheduler == "" {
		v.Scheduler = "wlc"
	}
	return nil
}

// finishFlags reads -b. A name that begins with a scheduler's is valid for that one only.
func (r *request) finishFlags() error {
	for name := range strings.SplitSeq(r.flags, ",") {
		if name == "" {
			continue
		}
		var flag sched.Flags
		if flag.UnmarshalText([]byte(name)) != nil {
			return fail("invalid scheduler flag `%s'", name)
		}
		owner, _, _ := strings.Cut(name, "-")
		if owner != "flag" && owner != r.service.Scheduler {
			return fail("incompatible scheduler flag `%s'", name)
		}
		r.service.Flags |= flag
	}
	return nil
}

func (r *request) finishServer() error {
	if r.service.Mark == 0 && r.server.Method.Direct() {
		r.server.Port = r.service.Port
	}
	if config.FamilyOf(r.server.Addr) != r.service.Family && !r.server.Method.Encapsulates() {
		return fail("Different address family is allowed only for tunneling servers")
	}
	if r.given&tunnelOptions != 0 && !r.server.Method.Encapsulates() {
		return fail("Tunnel options conflict with forward method")
	}
	if !r.server.Method.Encapsulates() {
		return nil
	}
	return r.checkTunnel()
}

// tunnelRules are the options that each type of tunnel needs and accepts.
var tunnelRules = map[config.TunnelType]rule{
	config.IPIP: {"ipip", 0, setOf(optTunType), 0},
	config.GUE:  {"gue", setOf(optTunPort), tunnelOptions, setOf(optTunNoCsum, optTunCsum, optTunRemCsum)},
	config.GRE:  {"gre", 0, setOf(optTunType, optTunNoCsum, optTunCsum), setOf(optTunNoCsum, optTunCsum)},
}

func (r *request) checkTunnel() error {
	return tunnelRules[r.server.TunnelType].checkAs(r.given&tunnelOptions, "tunnel type")
}

func (r *request) finishList() error {
	special := setOf(optConnection, optTimeout, optDaemon)
	formats := setOf(optStats, optRate, optThresholds)
	if r.given&special != 0 && r.given&formats != 0 ||
		r.given&setOf(optTimeout, optDaemon) != 0 && r.given.has(optPersistentConn) {
		return fail("options conflicts in the list command")
	}
	return nil
}
