package ipvsadm

import (
	"bufio"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"uvs/forwarder/config"
	"uvs/sched"
)

// TableSize is what listings show as the size of the connection table: the
// kernel's default number of hash buckets. Ours has no such limit.
const TableSize = 4096

// writer prints a listing.
type writer struct {
	*bufio.Writer
	tool  *Tool
	given set
	rules bool // as commands for -R instead of a table
}

func (w *writer) is(o option) bool { return w.given.has(o) }

func (w *writer) printf(format string, args ...any) { fmt.Fprintf(w, format, args...) }

// all prints the version line and the services with their servers. services is in the order
// of addition.
func (w *writer) all(services []config.ServiceState) {
	KernelOrder(services)
	if !w.rules {
		w.printf("IP Virtual Server version 1.2.1 (size=%d)\n", TableSize)
		w.titles()
	}
	if !w.is(optNoSort) {
		mergeSort(services, compareServices)
	}
	for _, v := range services {
		w.service(v)
	}
}

func (w *writer) titles() {
	switch {
	case w.is(optStats):
		w.counterTitles("Conns", "InPkts", "OutPkts", "InBytes", "OutBytes")
	case w.is(optRate):
		w.counterTitles("CPS", "InPPS", "OutPPS", "InBPS", "OutBPS")
	case w.is(optThresholds):
		w.printf("%-33s %-10s %-10s %-10s %-10s\n  -> RemoteAddress:Port\n",
			"Prot LocalAddress:Port", "Uthreshold", "Lthreshold", "ActiveConn", "InActConn")
	case w.is(optPersistentConn):
		w.printf("%-33s %-9s %-11s %-10s %-10s\n  -> RemoteAddress:Port\n",
			"Prot LocalAddress:Port", "Weight", "PersistConn", "ActiveConn", "InActConn")
	case w.is(optTunInfo):
		w.printf("Prot LocalAddress:Port Scheduler Flags\n  -> %-28s %-7s %-13s %-6s %s %s\n",
			"RemoteAddress:Port", "Forward", "TunnelInfo", "Weight", "ActiveConn", "InActConn")
	default:
		w.printf("Prot LocalAddress:Port Scheduler Flags\n  -> %-28s %-7s %-6s %s %s\n",
			"RemoteAddress:Port", "Forward", "Weight", "ActiveConn", "InActConn")
	}
}

func (w *writer) counterTitles(names ...any) {
	w.printf("%-33s%9s%9s%9s%9s%9s\n  -> RemoteAddress:Port\n", append([]any{"Prot LocalAddress:Port"}, names...)...)
}

// service prints a service and its servers.
func (w *writer) service(v config.ServiceState) {
	if !w.is(optNoSort) {
		mergeSort(v.Servers, compareServers)
	}
	name := w.serviceName(v.Key)
	switch {
	case w.rules:
		w.printf("-A %s%s\n", name, w.ruleFlags(v.Service))
	case w.is(optStats):
		w.printf("%-33s", name)
		w.counters(v.Stats.Conns, v.Stats.InPkts, v.Stats.OutPkts, v.Stats.InBytes, v.Stats.OutBytes)
	case w.is(optRate):
		w.printf("%-33s", name)
		w.counters(v.Stats.CPS, v.Stats.InPPS, v.Stats.OutPPS, v.Stats.InBPS, v.Stats.OutBPS)
	default:
		w.printf("%s%s\n", name, tableFlags(v.Service))
	}
	for _, s := range v.Servers {
		w.server(v, name, s)
	}
}

// columns is the width of an address and a port in tables; an IPv6 address may be longer.
const columns = 28

func (w *writer) serviceName(k config.Key) string {
	if k.Mark != 0 {
		return w.markName(int32(k.Mark), k.Family)
	}
	name := w.addrPort(k.Addr, k.Port, k.Proto)
	if w.rules {
		return serviceOption(k.Proto) + " " + name
	}
	if k.Addr.Is4() {
		name = name[:min(len(name), columns)]
	}
	return fmt.Sprintf("%-4s %s", k.Proto, name)
}

// serviceOption is the option for services of a protocol.
func serviceOption(p config.Proto) string {
	switch p {
	case config.TCP:
		return "-t"
	case config.UDP:
		return "-u"
	}
	return "--sctp-service"
}

// markName prints a mark as a signed number, as ipvsadm does.
func (w *writer) markName(mark int32, family config.Family) string {
	name, suffix := "FWM  "+strconv.Itoa(int(mark)), " IPv6"
	if w.rules {
		name, suffix = "-f "+strconv.Itoa(int(mark)), " -6"
	}
	if family == config.IPv6 {
		return name + suffix
	}
	return name
}

// nameLen is the length of ipvsadm's buffer for an address and a port.
const nameLen = 59

// addrPort formats an address and a port, as names unless -n is given.
func (w *writer) addrPort(a netip.Addr, port uint16, p config.Proto) string {
	host, service := addrText(a), strconv.Itoa(int(port))
	if !w.is(optNumeric) {
		if name, ok := w.tool.Names.HostOf(a); ok {
			host = name
		}
		if name, ok := w.tool.Names.PortOf(port, p); ok {
			service = name
		}
	}
	if a.Is6() {
		host = "[" + host + "]"
	}
	text := host + ":" + service
	return text[:min(len(text), nameLen)]
}

// addrText formats an address as inet_ntop(3) does, which writes ::1.2.3.4 like this.
func addrText(a netip.Addr) string {
	if a.Is6() && !a.Is4In6() {
		b := a.As16()
		if [12]byte(b[:12]) == [12]byte{} && (b[12] != 0 || b[13] != 0) {
			return "::" + netip.AddrFrom4([4]byte(b[12:])).String()
		}
	}
	return a.String()
}

// tableFlags are scheduler and flags as the table shows them.
func tableFlags(v config.Service) string {
	text := " " + v.Scheduler
	if v.Flags != 0 {
		text += " (" + schedFlags(v) + ")"
	}
	if v.Persistent != 0 {
		text += fmt.Sprintf(" persistent %d", v.Persistent)
		if v.Netmask != "" {
			text += " mask " + v.Netmask
		}
		if v.PE != "" {
			text += " pe " + v.PE
		}
	}
	if v.OnePacket {
		text += " ops"
	}
	return text
}

// ruleFlags are scheduler and flags as options.
func (w *writer) ruleFlags(v config.Service) string {
	text := " -s " + v.Scheduler
	if v.Persistent != 0 {
		text += fmt.Sprintf(" -p %d", v.Persistent)
		if v.Netmask != "" {
			text += " -M " + v.Netmask
		}
	}
	if v.PE != "" {
		text += " --pe " + v.PE
	}
	if v.OnePacket {
		text += " -o"
	}
	if v.Flags != 0 {
		text += " -b " + schedFlags(v)
	}
	return text
}

// schedFlags returns the names of the scheduler flags; sh and mh have two with names of
// their own and no third.
func schedFlags(v config.Service) string {
	if v.Scheduler != "sh" && v.Scheduler != "mh" {
		text, _ := v.Flags.MarshalText()
		return string(text)
	}
	var names []string
	if v.Flags&sched.Fallback != 0 {
		names = append(names, v.Scheduler+"-fallback")
	}
	if v.Flags&sched.Port != 0 {
		names = append(names, v.Scheduler+"-port")
	}
	return strings.Join(names, ",")
}

func (w *writer) server(v config.ServiceState, service string, s config.ServerState) {
	name := w.addrPort(s.Addr, s.Port, v.Proto)
	if w.rules {
		w.printf("-a %s -r %s %s -w %d%s\n", service, name, methodOption(s.Method), s.Weight, tunnelRule(s.Server))
		return
	}
	if s.Addr.Is4() {
		name = name[:min(len(name), columns)]
	}
	w.printf("  -> %-28s", name)
	switch {
	case w.is(optStats):
		w.counters(low(s.Stats.Conns), low(s.Stats.InPkts), low(s.Stats.OutPkts), s.Stats.InBytes, s.Stats.OutBytes)
	case w.is(optRate):
		w.printf(" %8d %8d %8d", low(s.Stats.CPS), low(s.Stats.InPPS), low(s.Stats.OutPPS))
		w.counters(low(s.Stats.InBPS), low(s.Stats.OutBPS))
	case w.is(optThresholds):
		w.printf(" %-10d %-10d %-10d %-10d\n", s.Upper, s.Lower, s.Active, s.Inactive)
	case w.is(optPersistentConn):
		w.printf(" %-9d %-11d %-10d %-10d\n", s.Weight, s.Persistent, s.Active, s.Inactive)
	case w.is(optTunInfo):
		w.printf(" %-7s %-13s %-6d %-10d %-10d\n", s.Method, tunnelInfo(s.Server), s.Weight, s.Active, s.Inactive)
	default:
		w.printf(" %-7s %-6d %-10d %-10d\n", s.Method, s.Weight, s.Active, s.Inactive)
	}
}

// low returns the low 32 bits: ipvsadm keeps some counters of servers in 32 bits.
func low(n uint64) uint64 { return n & (1<<32 - 1) }

// counters ends a line with columns of large numbers.
func (w *writer) counters(values ...uint64) {
	for _, n := range values {
		w.WriteString(largeNumber(n, w.is(optExact)))
	}
	w.WriteByte('\n')
}

// largeNumber formats a number in nine columns, from 100 million on in thousands, millions
// and so on unless exact is set.
func largeNumber(n uint64, exact bool) string {
	switch {
	case exact, n < 1e8:
		return fmt.Sprintf(" %8d", n)
	case n < 1e9:
		return fmt.Sprintf("%8dK", n/1e3)
	case n < 1e11:
		return fmt.Sprintf("%8dM", n/1e6)
	case n < 1e14:
		return fmt.Sprintf("%8dG", n/1e9)
	}
	return fmt.Sprintf("%8dT", n/1e12)
}

// methodOption is the option for a forwarding method, as short as there is one. One
// that nobody can ask for is saved as direct routing.
func methodOption(m sched.Method) string {
	switch t := m.Traits(); {
	case t.Letter != 0:
		return "-" + string(t.Letter)
	case t.Option != "":
		return "--" + t.Option
	}
	return methodOption(sched.Route)
}

// checksums are the tunnels' checksum flags in tables.
var checksums = map[config.TunnelFlags]string{
	config.TunnelNoCsum: "-c", config.TunnelCsum: "+c", config.TunnelRemCsum: "r+c",
}

// tunnelInfo is the TunnelInfo column: "gue:6080:+c".
func tunnelInfo(s config.Server) string {
	if !s.Method.Encapsulates() {
		return "n/a"
	}
	switch s.TunnelType {
	case config.GUE:
		return fmt.Sprintf("gue:%d:%s", s.TunnelPort, checksums[s.TunnelFlags])
	case config.GRE:
		return "gre:" + checksums[s.TunnelFlags]
	}
	return "ipip"
}

// tunnelRule are the tunnel's options.
func tunnelRule(s config.Server) string {
	if !s.Method.Encapsulates() {
		return ""
	}
	flags, _ := s.TunnelFlags.MarshalText()
	switch s.TunnelType {
	case config.GUE:
		return fmt.Sprintf(" --tun-type gue --tun-port %d --tun-%s", s.TunnelPort, flags)
	case config.GRE:
		return fmt.Sprintf(" --tun-type gre --tun-%s", flags)
	}
	return " --tun-type ipip"
}
