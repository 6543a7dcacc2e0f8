package ipvsadm

import (
	"net/netip"
	"strconv"
	"strings"

	"uvs/forwarder/config"
	"uvs/sched"
)

// defaultPersistence is the timeout of -p without a value, in seconds.
const defaultPersistence = 360

// defaultInterface is where the synchronization daemons send and listen.
const defaultInterface = "eth0"

// request is a command line that was understood.
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

// parse reads the words of one command line, without the program's name.
func (t *Tool) parse(words []string) (*request, error) {
	r := &request{server: config.NewServer()}
	s := &scanner{specs: table, words: words}
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
		if err := t.take(r, opt, arg); err != nil {
			return nil, err
		}
	}
	return r, r.finish(s.rest)
}

// begin takes the first option, which is the command.
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

// kinds are the options that other words give, by the word.
var kinds = map[option]option{
	wordTCP: optService, wordUDP: optService, wordSCTP: optService, wordMark: optService,
	wordMasq: optForward, wordTunnel: optForward, wordRoute: optForward, wordFullNAT: optForward,
}

// take notes one option that is not the command.
func (t *Tool) take(r *request, opt option, arg *string) error {
	kind, ok := kinds[opt]
	if !ok {
		kind = opt
	}
	if kind < options {
		if r.given.has(kind) {
			return fail("multiple '%s' options specified", optionNames[kind])
		}
		r.given |= setOf(kind)
	}
	switch {
	case kind == optService:
		return t.takeService(r, opt, *arg)
	case kind == optForward:
		r.server.Method = methods[opt]
	case kind == optServer:
		return t.takeServer(r, *arg)
	case serviceOptions.has(kind):
		return r.takeServiceOption(kind, arg)
	case serverOptions.has(kind):
		return r.takeServerOption(kind, arg)
	case daemonOptions.has(kind):
		return r.takeDaemonOption(kind, *arg)
	case kind == optLocal:
		return t.takeLocal(r, *arg)
	case opt == wordIPv6:
		return r.takeIPv6()
	}
	return nil
}

var methods = map[option]sched.Method{
	wordMasq: sched.Masq, wordTunnel: sched.Tunnel, wordRoute: sched.Route, wordFullNAT: sched.FullNAT,
}

var protocols = map[option]config.Proto{wordTCP: config.TCP, wordUDP: config.UDP, wordSCTP: config.SCTP}

func (t *Tool) takeService(r *request, opt option, arg string) error {
	if opt == wordMark {
		mark, ok := number(arg, 1, 1<<32-1)
		if !ok {
			return fail("invalid fwmark value `%s' specified", arg)
		}
		r.service.Mark, r.service.Family = uint32(mark), config.IPv4
		return nil
	}
	r.service.Proto = protocols[opt]
	e, ok := t.endpoint(arg, r.service.Proto)
	if !ok {
		return fail("illegal virtual server address[:port] specified")
	}
	r.service.Addr, r.service.Port, r.service.Family = e.addr, e.port, config.FamilyOf(e.addr)
	if r.service.Family == config.IPv6 {
		r.service.Netmask = "" // a mask given before was read as one for IPv4
	}
	return nil
}

// takeIPv6 makes a service by mark one of IPv6.
func (r *request) takeIPv6() error {
	if r.service.Mark == 0 {
		return fail("-6 used before -f\n")
	}
	r.service.Family = config.IPv6
	r.service.Netmask = ""
	return nil
}

func (t *Tool) takeServer(r *request, arg string) error {
	names := r.service.Proto
	if r.service.Mark != 0 {
		names = config.TCP
	}
	e, ok := t.endpoint(arg, names)
	if !ok {
		return fail("illegal real server address[:port] specified")
	}
	if !e.hasPort {
		e.port = r.service.Port
	}
	r.server.Addr, r.server.Port = e.addr, e.port
	return nil
}

func (t *Tool) takeLocal(r *request, arg string) error {
	e, ok := t.endpoint(arg, 0)
	if !ok || e.hasPort {
		return fail("illegal local address specified")
	}
	r.local = e.addr
	return nil
}

func (r *request) takeServiceOption(opt option, arg *string) (err error) {
	switch opt {
	case optScheduler:
		r.service.Scheduler = *arg
	case optPersistent:
		r.service.Persistent = defaultPersistence
		if arg != nil {
			r.service.Persistent, err = timeout(*arg, 1)
		}
	case optNetmask:
		return r.takeNetmask(*arg)
	case optOnePacket:
		r.service.OnePacket = true
	case optPE:
		r.service.PE = *arg
	case optSchedFlags:
		r.flags = *arg
	}
	return err
}

func timeout(text string, least int64) (uint32, error) {
	seconds, ok := number(text, least, config.MaxTimeout)
	if !ok {
		return 0, fail("invalid timeout value `%s' specified", text)
	}
	return uint32(seconds), nil
}

func (r *request) takeNetmask(arg string) error {
	if r.service.Family == config.IPv6 {
		bits := leadingNumber(arg)
		if bits < 1 || bits > 128 {
			return fail("illegal ipv6 netmask specified")
		}
		if bits != 128 {
			r.service.Netmask = strconv.FormatInt(bits, 10)
		}
		return nil
	}
	mask, ok := inetAton(arg)
	if !ok {
		return fail("illegal virtual server persistent mask specified")
	}
	if mask != allOnes {
		r.service.Netmask = mask.String()
	}
	return nil
}

// allOnes is the mask that is none.
var allOnes = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func (r *request) takeServerOption(opt option, arg *string) error {
	const most = 1<<31 - 1
	var n int64
	ok := true
	switch opt {
	case optWeight:
		n, ok = number(*arg, 0, most)
		r.server.Weight = int32(n)
	case optUpper:
		n, ok = number(*arg, 0, most)
		r.server.Upper = uint32(n)
	case optLower:
		n, ok = number(*arg, 0, most)
		r.server.Lower = uint32(n)
	case optTunType:
		ok = r.server.TunnelType.UnmarshalText([]byte(*arg)) == nil
	case optTunPort:
		n, ok = number(*arg, 1, 65535)
		r.server.TunnelPort = uint16(n)
	case optTunNoCsum:
		r.server.TunnelFlags = config.TunnelNoCsum
	case optTunCsum:
		r.server.TunnelFlags = config.TunnelCsum
	case optTunRemCsum:
		r.server.TunnelFlags = config.TunnelRemCsum
	}
	if !ok {
		return fail("illegal %s specified", illegalNames[opt])
	}
	return nil
}

// illegalNames are options in messages about wrong values, where that is not
// the option's name.
var illegalNames = map[option]string{
	optWeight: "weight", optUpper: "u_threshold", optLower: "l_threshold",
	optTunType: "tunnel type", optTunPort: "tunnel port",
}

func (r *request) takeDaemonOption(opt option, arg string) error {
	var n int64
	ok := true
	switch opt {
	case optInterface:
		r.daemon.Interface = arg
	case optSyncID:
		n, ok = number(arg, 0, 255)
		r.daemon.SyncID = uint8(n)
	case optMaxLen:
		n, ok = number(arg, 1, 65535-20-8)
		r.daemon.MaxLen = uint16(n)
	case optGroup:
		return r.takeGroup(arg)
	case optPort:
		n, ok = number(arg, 1, 65535)
		r.daemon.Port = uint16(n)
	case optTTL:
		n, ok = number(arg, 1, 255)
		r.daemon.TTL = uint8(n)
	}
	if !ok {
		return fail("illegal %s specified", optionNames[opt])
	}
	return nil
}

func (r *request) takeGroup(arg string) error {
	a, err := netip.ParseAddr(arg)
	if err == nil && a.IsMulticast() && a.Zone() == "" {
		r.daemon.Group = a
		return nil
	}
	if strings.Contains(arg, ":") {
		return fail("invalid IPv6 mcast-group `%s'", arg)
	}
	return fail("invalid IPv4 mcast-group `%s'", arg)
}

// finish reads the words that are no options and checks the whole.
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

// finishFlags reads -b. Names that begin with a scheduler's are for that one.
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
	direct := r.server.Method == sched.Route || r.server.Method == sched.Tunnel
	if r.service.Mark == 0 && direct {
		r.server.Port = r.service.Port
	}
	if config.FamilyOf(r.server.Addr) != r.service.Family && r.server.Method != sched.Tunnel {
		return fail("Different address family is allowed only for tunneling servers")
	}
	if r.given&tunnelOptions != 0 && r.server.Method != sched.Tunnel {
		return fail("Tunnel options conflict with forward method")
	}
	if r.server.Method != sched.Tunnel {
		return nil
	}
	return r.checkTunnel()
}

// tunnelRules are what the types of tunnels need and take.
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
