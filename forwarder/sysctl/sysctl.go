// Package sysctl has the parameters of /proc/sys/net/ipv4/vs: their names, bounds,
// defaults and meanings, and why some of the kernel's are missing. It knows nothing of
// a director; a Values belongs to its caller.
package sysctl

import (
	"fmt"
	"math"
	"strconv"

	"uvs/forwarder/config"
)

// Values are the settings of /proc/sys/net/ipv4/vs that change what the
// director does, with the kernel's names and defaults (Linux's
// Documentation/networking/ipvs-sysctl.rst).
type Values struct {
	ConnReuseMode           int32
	ExpireNodestConn        int32
	ExpireQuiescentTemplate int32
	NATICMPSend             int32
	PMTUDisc                int32
	SloppyTCP               int32
	SloppySCTP              int32
	SecureTCP               int32
	ScheduleICMP            int32
	IgnoreTunneled          int32
	DropEntry               int32
	DropPacket              int32
	AMDropRate              int32
	AMemThresh              int32 // pages
	CacheBypass             int32
	LBLCExpiration          int32 // seconds
	LBLCRExpiration         int32 // seconds
}

// Default returns the values of a kernel that nobody has changed.
func Default() Values {
	return Values{
		ConnReuseMode: 1, PMTUDisc: 1, AMDropRate: 10, AMemThresh: 1024, LBLCExpiration: 86400, LBLCRExpiration: 86400,
	}
}

// maxExpiration is the most seconds a kernel with 250 jiffies a second takes
// (proc_dointvec_jiffies).
const maxExpiration = math.MaxInt32 / 250

// table has the settings by name, with what each does.
var table = []struct {
	name     string
	min, max int32
	meaning  string
	at       func(*Values) *int32
}{
	{"am_droprate", 1, math.MaxInt32, "with drop_packet 3, one in so many packets that would open a connection is dropped", func(s *Values) *int32 { return &s.AMDropRate }},
	{"amemthresh", 0, math.MaxInt32, "memory is short when less than this many pages of 4096 bytes are free in the connection table", func(s *Values) *int32 { return &s.AMemThresh }},
	{"cache_bypass", 0, 1, "what a service by mark has no server for goes to its own destination", func(s *Values) *int32 { return &s.CacheBypass }},
	{"conn_reuse_mode", 0, 3, "when a client's port comes again: bit 0 schedules anew after TIME_WAIT and CLOSE, bit 1 after FIN_WAIT in DR and TUN too; 0 never", func(s *Values) *int32 { return &s.ConnReuseMode }},
	{"drop_entry", 0, 3, "each second some half-open and barely used connections are dropped: 3 always, 1 when memory is short (it shows 2 then)", func(s *Values) *int32 { return &s.DropEntry }},
	{"drop_packet", 0, 3, "some packets that would open connections are dropped: 3 one in am_droprate, 1 the more the shorter memory is (it shows 2 then)", func(s *Values) *int32 { return &s.DropPacket }},
	{"expire_nodest_conn", 0, 1, "connections end when their server is removed, and the next packet may open a new one", func(s *Values) *int32 { return &s.ExpireNodestConn }},
	{"expire_quiescent_template", 0, 1, "persistence does not send new connections to a server of weight 0", func(s *Values) *int32 { return &s.ExpireQuiescentTemplate }},
	{"ignore_tunneled", 0, 1, "what the host unwraps from a tunnel is not scheduled again: always so, whatever the value", func(s *Values) *int32 { return &s.IgnoreTunneled }},
	{"lblc_expiration", 0, maxExpiration, "seconds an address that lblc has a server for may be unused before it is forgotten, looked at every half hour", func(s *Values) *int32 { return &s.LBLCExpiration }},
	{"lblcr_expiration", 0, maxExpiration, "the same of lblcr; and a set of servers that has not changed for so long loses the most loaded one", func(s *Values) *int32 { return &s.LBLCRExpiration }},
	{"nat_icmp_send", 0, 1, "a real server whose packet belongs to no connection gets an ICMP port unreachable", func(s *Values) *int32 { return &s.NATICMPSend }},
	{"pmtu_disc", 0, 1, "tunnels copy DF to the outer header, and packets with DF that are too large are refused", func(s *Values) *int32 { return &s.PMTUDisc }},
	{"schedule_icmp", 0, 1, "an ICMP error about a service without a connection is scheduled as the packet it quotes", func(s *Values) *int32 { return &s.ScheduleICMP }},
	{"secure_tcp", 0, 3, "the stricter TCP state table is in force: 3 always, 1 when memory is short (it shows 2 then)", func(s *Values) *int32 { return &s.SecureTCP }},
	{"sloppy_sctp", 0, 1, "any SCTP chunk but ABORT may open a connection", func(s *Values) *int32 { return &s.SloppySCTP }},
	{"sloppy_tcp", 0, 1, "any TCP segment but RST may open a connection", func(s *Values) *int32 { return &s.SloppyTCP }},
}

// List returns all settings with their values and meanings, sorted by name.
func (v *Values) List() []config.Sysctl {
	initial := Default()
	all := make([]config.Sysctl, len(table))
	for i, s := range table {
		all[i] = config.Sysctl{
			Name: s.name, Meaning: s.meaning,
			Value: strconv.Itoa(int(*s.at(v))), Default: strconv.Itoa(int(*s.at(&initial))),
		}
	}
	return all
}

// Set changes the setting with the given name. A name or a value that no
// director takes is a config.FieldError.
func (s *Values) Set(name, value string) error {
	for _, known := range table {
		if known.name != name {
			continue
		}
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || int32(n) < known.min || int32(n) > known.max {
			return &config.FieldError{Field: "value", Problem: fmt.Sprintf("%q is not from %d to %d", value, known.min, known.max)}
		}
		*known.at(s) = int32(n)
		return nil
	}
	return Unknown(name)
}
