// Package sysctl has the parameters of /proc/sys/net/ipv4/vs: their names, bounds,
// defaults and meanings, and why some of the kernel's are missing. It knows nothing of
// a director; a Values belongs to its caller.
package sysctl

import (
	"fmt"
	"math"
	"strconv"
	"strings"

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

	// Of connection synchronization.
	BackupOnly        int32
	SyncPersistMode   int32
	SyncPorts         int32
	SyncQlenMax       int32 // datagrams
	SyncRefreshPeriod int32 // seconds
	SyncRetries       int32
	SyncSockSize      int32    // bytes
	SyncThreshold     [2]int32 // packets: threshold and period
	SyncVersion       int32
}

// Default returns the values of a kernel that nobody has changed.
func Default() Values {
	return Values{
		ConnReuseMode: 1, PMTUDisc: 1, AMDropRate: 10, AMemThresh: 1024, LBLCExpiration: 86400, LBLCRExpiration: 86400,
		SyncPorts: 1, SyncQlenMax: 512, SyncThreshold: [2]int32{3, 50}, SyncVersion: 1,
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
	{"backup_only", 0, 1, "while a backup daemon runs, packets of services are left alone", func(s *Values) *int32 { return &s.BackupOnly }},
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
	{"sync_persist_mode", 0, 1, "the connections that a template controls are not synchronized, only the template", func(s *Values) *int32 { return &s.SyncPersistMode }},
	{"sync_ports", 1, 64, "ports, a power of two, over which a daemon that starts spreads connections; both ends need the same", func(s *Values) *int32 { return &s.SyncPorts }},
	{"sync_qlen_max", 1, math.MaxInt32, "datagrams that may wait at each worker of a daemon that starts; entries beyond are lost", func(s *Values) *int32 { return &s.SyncQlenMax }},
	{"sync_refresh_period", 0, maxExpiration, "seconds by which the end of a connection must have moved before it is sent again; 0: it does not matter", func(s *Values) *int32 { return &s.SyncRefreshPeriod }},
	{"sync_retries", 0, 3, "how often a connection is sent again within sync_refresh_period, at an eighth of it", func(s *Values) *int32 { return &s.SyncRetries }},
	{"sync_sock_size", 0, math.MaxInt32, "bytes of the buffers of the sockets of a daemon that starts; 0: as large as need be", func(s *Values) *int32 { return &s.SyncSockSize }},
	{"sync_threshold", 0, math.MaxInt32, "threshold and period: a connection is sent with the packets whose number leaves that rest; a period of 0 means once, or by sync_refresh_period alone", func(s *Values) *int32 { return &s.SyncThreshold[0] }},
	{"sync_version", 0, 1, "version of the format in which a master sends", func(s *Values) *int32 { return &s.SyncVersion }},
}

// List returns all settings with their values and meanings, sorted by name.
func (v *Values) List() []config.Sysctl {
	initial := Default()
	all := make([]config.Sysctl, len(table))
	for i, s := range table {
		all[i] = config.Sysctl{
			Name: s.name, Meaning: s.meaning,
			Value: v.text(s.name, s.at(v)), Default: initial.text(s.name, s.at(&initial)),
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
		if name == "sync_threshold" {
			return s.setThreshold(value)
		}
		n, err := strconv.ParseInt(value, 10, 32)
		if err != nil || int32(n) < known.min || int32(n) > known.max {
			return &config.FieldError{Field: "value", Problem: fmt.Sprintf("%q is not from %d to %d", value, known.min, known.max)}
		}
		if name == "sync_ports" && n&(n-1) != 0 {
			return &config.FieldError{Field: "value", Problem: fmt.Sprintf("%q is not a power of two", value)}
		}
		*known.at(s) = int32(n)
		return nil
	}
	return Unknown(name)
}

// text returns a setting as the kernel shows it.
func (s *Values) text(name string, at *int32) string {
	if name == "sync_threshold" {
		return fmt.Sprintf("%d\t%d", s.SyncThreshold[0], s.SyncThreshold[1])
	}
	return strconv.Itoa(int(*at))
}

// setThreshold sets the threshold, or it and the period, which must be larger or 0
// (ip_vs_ctl.c, proc_do_sync_threshold).
func (s *Values) setThreshold(value string) error {
	next, words := s.SyncThreshold, strings.Fields(value)
	if len(words) < 1 || len(words) > 2 {
		return &config.FieldError{Field: "value", Problem: fmt.Sprintf("%q is not a threshold and a period, such as \"3 50\"", value)}
	}
	for i, word := range words {
		n, err := strconv.ParseInt(word, 10, 32)
		if err != nil || n < 0 {
			return &config.FieldError{Field: "value", Problem: fmt.Sprintf("%q is not from 0 to %d", word, math.MaxInt32)}
		}
		next[i] = int32(n)
	}
	if next[1] != 0 && next[0] >= next[1] {
		return &config.FieldError{Field: "value", Problem: fmt.Sprintf("the threshold %d is not below the period %d", next[0], next[1])}
	}
	s.SyncThreshold = next
	return nil
}
