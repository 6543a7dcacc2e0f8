package ipvsadm

import (
	"net/netip"
	"strconv"
	"strings"

	"uvs/forwarder/config"
	"uvs/sched"
)

// kinds are the options that words such as -t stand for.
var kinds = map[option]option{
	wordTCP: optService, wordUDP: optService, wordSCTP: optService, wordMark: optService,
}

// parseOption reads one option other than the command.
func (t *Tool) parseOption(r *request, opt option, arg *string) error {
	kind, ok := kinds[opt]
	switch {
	case ok:
	case opt >= wordMethod:
		kind = optForward
	default:
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
		return t.parseService(r, opt, *arg)
	case kind == optForward:
		r.server.Method = sched.Method(opt - wordMethod)
	case kind == optServer:
		return t.parseServer(r, *arg)
	case serviceOptions.has(kind):
		return r.parseServiceOption(kind, arg)
	case serverOptions.has(kind):
		return r.parseServerOption(kind, arg)
	case daemonOptions.has(kind):
		return r.parseDaemonOption(kind, *arg)
	case kind == optLocal:
		return t.parseLocal(r, *arg)
	case opt == wordIPv6:
		return r.setIPv6()
	}
	return nil
}

var protocols = map[option]config.Proto{wordTCP: config.TCP, wordUDP: config.UDP, wordSCTP: config.SCTP}

func (t *Tool) parseService(r *request, opt option, arg string) error {
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
		r.service.Netmask = "" // one that came before was read as an IPv4 mask
	}
	return nil
}

// setIPv6 makes a firewall-mark service one of IPv6.
func (r *request) setIPv6() error {
	if r.service.Mark == 0 {
		return fail("-6 used before -f\n")
	}
	r.service.Family = config.IPv6
	r.service.Netmask = ""
	return nil
}

func (t *Tool) parseServer(r *request, arg string) error {
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

func (t *Tool) parseLocal(r *request, arg string) error {
	e, ok := t.endpoint(arg, 0)
	if !ok || e.hasPort {
		return fail("illegal local address specified")
	}
	r.local = e.addr
	return nil
}

func (r *request) parseServiceOption(opt option, arg *string) (err error) {
	switch opt {
	case optScheduler:
		r.service.Scheduler = *arg
	case optPersistent:
		r.service.Persistent = defaultPersistence
		if arg != nil {
			r.service.Persistent, err = timeout(*arg, 1)
		}
	case optNetmask:
		return r.parseNetmask(*arg)
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

func (r *request) parseNetmask(arg string) error {
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

// allOnes is the default mask, which is not stored.
var allOnes = netip.AddrFrom4([4]byte{255, 255, 255, 255})

func (r *request) parseServerOption(opt option, arg *string) error {
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

// illegalNames are names of options in messages about invalid values, if they differ from
// the option's name.
var illegalNames = map[option]string{
	optWeight: "weight", optUpper: "u_threshold", optLower: "l_threshold",
	optTunType: "tunnel type", optTunPort: "tunnel port",
}

func (r *request) parseDaemonOption(opt option, arg string) error {
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
		return r.parseGroup(arg)
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

func (r *request) parseGroup(arg string) error {
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
