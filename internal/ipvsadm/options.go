package ipvsadm

import (
	"slices"
	"sync"

	"uvs/sched"
)

// option is a word of the command line. Those from optNumeric to the last are
// "options" in ipvsadm's sense; their order decides which of several mistakes
// is reported.
type option uint8

const (
	optNumeric option = iota
	optConnection
	optService
	optScheduler
	optPersistent
	optNetmask
	optServer
	optForward
	optWeight
	optUpper
	optLower
	optInterface
	optTimeout
	optDaemon
	optStats
	optRate
	optThresholds
	optPersistentConn
	optNoSort
	optSyncID
	optExact
	optOnePacket
	optPE
	optSchedFlags
	optGroup
	optPort
	optTTL
	optMaxLen
	optTunInfo
	optTunType
	optTunPort
	optTunNoCsum
	optTunCsum
	optTunRemCsum
	optLocal
	options // their number

	// Words with a meaning of their own.
	wordTCP
	wordUDP
	wordSCTP
	wordMark
	wordIPv6
	wordSort
	wordMethod // and those that follow it: the forwarding methods by their numbers

	// Commands.
	cmdAddService option = iota + sched.Methods - 1
	cmdEditService
	cmdDeleteService
	cmdFlush
	cmdList
	cmdZero
	cmdAddServer
	cmdEditServer
	cmdDeleteServer
	cmdSet
	cmdHelp
	cmdVersion
	cmdRestore
	cmdSave
	cmdStartDaemon
	cmdStopDaemon
	cmdAddLocal
	cmdDeleteLocal
	cmdListLocal
)

// optionNames are the options' names in messages.
var optionNames = [options]string{
	"numeric", "connection", "service-address", "scheduler", "persistent", "netmask", "real-server",
	"forwarding-method", "weight", "u-threshold", "l-threshold", "mcast-interface", "timeout", "daemon",
	"stats", "rate", "thresholds", "persistent-conn", "nosort", "syncid", "exact", "ops", "pe",
	"sched-flags", "mcast-group", "mcast-port", "mcast-ttl", "sync-maxlen", "tun-info", "tun-type",
	"tun-port", "tun-nocsum", "tun-csum", "tun-remcsum", "laddr",
}

// table is the grammar of ipvsadm 1.31, then our own long options. The forwarding
// methods bring theirs: see grammar.
var table = []spec{
	{cmdAddService, "add-service", 'A', none},
	{cmdEditService, "edit-service", 'E', none},
	{cmdDeleteService, "delete-service", 'D', none},
	{cmdFlush, "clear", 'C', none},
	{cmdList, "list", 'L', none},
	{cmdList, "list", 'l', none},
	{cmdZero, "zero", 'Z', none},
	{cmdAddServer, "add-server", 'a', none},
	{cmdEditServer, "edit-server", 'e', none},
	{cmdDeleteServer, "delete-server", 'd', none},
	{cmdSet, "set", 0, none},
	{cmdHelp, "help", 'h', none},
	{cmdVersion, "version", 'v', none},
	{cmdRestore, "restore", 'R', none},
	{cmdSave, "save", 'S', none},
	{cmdStartDaemon, "start-daemon", 0, required},
	{cmdStopDaemon, "stop-daemon", 0, required},
	{wordTCP, "tcp-service", 't', required},
	{wordUDP, "udp-service", 'u', required},
	{wordSCTP, "sctp-service", 0, required},
	{wordMark, "fwmark-service", 'f', required},
	{optScheduler, "scheduler", 's', required},
	{optPersistent, "persistent", 'p', optional},
	{optNetmask, "netmask", 'M', required},
	{optServer, "real-server", 'r', required},
	{optTunType, "tun-type", 0, required},
	{optTunPort, "tun-port", 0, required},
	{optTunNoCsum, "tun-nocsum", 0, none},
	{optTunCsum, "tun-csum", 0, none},
	{optTunRemCsum, "tun-remcsum", 0, none},
	{optWeight, "weight", 'w', required},
	{optUpper, "u-threshold", 'x', required},
	{optLower, "l-threshold", 'y', required},
	{optNumeric, "numeric", 'n', none},
	{optConnection, "connection", 'c', none},
	{optInterface, "mcast-interface", 0, required},
	{optSyncID, "syncid", 0, required},
	{optTimeout, "timeout", 0, none},
	{optDaemon, "daemon", 0, none},
	{optStats, "stats", 0, none},
	{optRate, "rate", 0, none},
	{optThresholds, "thresholds", 0, none},
	{optPersistentConn, "persistent-conn", 0, none},
	{optTunInfo, "tun-info", 0, none},
	{optNoSort, "nosort", 0, none},
	{wordSort, "sort", 0, none},
	{optExact, "exact", 'X', none},
	{wordIPv6, "ipv6", '6', none},
	{optOnePacket, "ops", 'o', none},
	{optPE, "pe", 0, required},
	{optSchedFlags, "sched-flags", 'b', required},
	{optMaxLen, "sync-maxlen", 0, required},
	{optGroup, "mcast-group", 0, required},
	{optPort, "mcast-port", 0, required},
	{optTTL, "mcast-ttl", 0, required},

	{optLocal, "laddr", 0, required},
	{cmdAddLocal, "add-laddr", 0, none},
	{cmdDeleteLocal, "del-laddr", 0, none},
	{cmdListLocal, "get-laddr", 0, none},
}

// grammar returns table with the options of the forwarding methods.
var grammar = sync.OnceValue(func() []spec {
	specs := slices.Clone(table)
	for m := range sched.Method(sched.Methods) {
		if t := m.Traits(); t.Option != "" {
			specs = append(specs, spec{wordMethod + option(m), t.Option, t.Letter, none})
		}
	}
	return specs
})

// Options returns the words of the grammar, long and short, as they are typed.
func Options() (words []string) {
	for _, s := range grammar() {
		words = append(words, "--"+s.long)
		if s.short != 0 {
			words = append(words, "-"+string(rune(s.short)))
		}
	}
	return words
}

// rule says which options a command needs, which others it accepts, and which of them
// exclude one another.
type rule struct {
	name                     string
	needs, takes, exclusives set
}

// set is a set of options.
type set uint64

func setOf(opts ...option) set {
	var s set
	for _, o := range opts {
		s |= 1 << o
	}
	return s
}

func (s set) has(o option) bool { return s&(1<<o) != 0 }

var (
	serviceOptions = setOf(optScheduler, optPersistent, optNetmask, optOnePacket, optPE, optSchedFlags)
	tunnelOptions  = setOf(optTunType, optTunPort, optTunNoCsum, optTunCsum, optTunRemCsum)
	serverOptions  = setOf(optForward, optWeight, optUpper, optLower) | tunnelOptions
	daemonOptions  = setOf(optInterface, optSyncID, optMaxLen, optGroup, optPort, optTTL)
	listSubjects   = setOf(optConnection, optService, optTimeout, optDaemon)
	listFormats    = setOf(optNumeric, optStats, optRate, optThresholds, optPersistentConn, optNoSort, optSyncID, optExact, optTunInfo)
)

var rules = map[option]rule{
	cmdAddService:    {"add-service", setOf(optService), serviceOptions, 0},
	cmdEditService:   {"edit-service", setOf(optService), serviceOptions, 0},
	cmdDeleteService: {"delete-service", setOf(optService), 0, 0},
	cmdFlush:         {"flush", 0, 0, 0},
	cmdList:          {"list", 0, listSubjects | listFormats, listSubjects},
	cmdAddServer:     {"add-server", setOf(optService, optServer), serverOptions, 0},
	cmdEditServer:    {"edit-server", setOf(optService, optServer), serverOptions, 0},
	cmdDeleteServer:  {"delete-server", setOf(optService, optServer), 0, 0},
	cmdSet:           {"set", 0, 0, 0},
	cmdStartDaemon:   {"start-daemon", 0, daemonOptions, 0},
	cmdStopDaemon:    {"stop-daemon", 0, setOf(optSyncID), 0},
	cmdRestore:       {"restore", 0, 0, 0},
	cmdSave:          {"save", 0, setOf(optNumeric), 0},
	cmdZero:          {"zero", 0, setOf(optService), 0},
	cmdAddLocal:      {"add-laddr", setOf(optService, optLocal), 0, 0},
	cmdDeleteLocal:   {"del-laddr", setOf(optService, optLocal), 0, 0},
	cmdListLocal:     {"get-laddr", 0, setOf(optService, optNumeric), 0},
}

// check reports the first option that is missing, not accepted, or excluded by another.
func (r rule) check(given set) error { return r.checkAs(given, "command") }

// checkAs is check with another word than "command" in the message.
func (r rule) checkAs(given set, kind string) error {
	first := options
	for o := range options {
		name := optionNames[o]
		switch {
		case !given.has(o) && r.needs.has(o):
			return fail("You need to supply the '%s' option for the '%s' %s", name, r.name, kind)
		case !given.has(o):
		case !(r.needs | r.takes).has(o):
			return fail("Illegal '%s' option with the '%s' %s", name, r.name, kind)
		case !r.exclusives.has(o):
		case first != options:
			return fail("The option '%s' conflicts with the '%s' option in the '%s' %s", name, optionNames[first], r.name, kind)
		default:
			first = o
		}
	}
	return nil
}
