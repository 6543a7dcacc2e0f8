package lab_test

import (
	"fmt"
	"net/netip"
	"strings"

	"uvs/lab"
)

// Virtual addresses of the soak, by method; each has one of IPv6 beside it, see six. The
// steady ones have one server, which never dies, and do not change.
var (
	soakVIPs   = map[string]string{"-m": "172.16.253.64", "--fullnat": "172.16.253.65", "-g": "172.16.253.66", "-i": "172.16.253.67"}
	steadyVIPs = map[string]string{"-m": "172.16.253.74", "--fullnat": "172.16.253.75", "-g": "172.16.253.76", "-i": "172.16.253.77"}
)

// Virtual addresses of a service with persistence, by FULLNAT, and of one with persistence
// and a mark, by direct routing. By NAT they would share server ports with others.
const (
	soakPersistent = "172.16.253.68"
	soakMarked     = "172.16.253.69"
	soakMark       = "9"
)

const (
	soakServers = 3
	// steadyOne is the server of the connections that last, and of no others. NAT does not
	// change a client's port: where one server has two services by NAT, two connections of
	// a client from one port, to one service each, are the same connection to the server.
	steadyOne = 4
	soakLocal = "192.168.166.200"
)

// serverAddress is where a server gets packets by a method: those that are translated on
// the inner network, whose gateway is the director, the others on the client's.
func serverAddress(n int, method string) string {
	if method == "-m" || method == "--fullnat" {
		return fmt.Sprintf("192.168.166.%d", n)
	}
	return fmt.Sprintf("172.16.1.%d", n)
}

// six returns the address of IPv6 beside one of IPv4: that of 172.16.253.64 is
// fd00:172::253:64.
func six(addr string) string {
	b := netip.MustParseAddr(addr).As4()
	return fmt.Sprintf("fd00:%d::%d:%d", b[0], b[2], b[3])
}

// families returns an address of IPv4 and the one of IPv6 beside it.
func families(addr string) []string { return []string{addr, six(addr)} }

// withPort is an address and port as ipvsadm has them.
func withPort(addr string, port uint16) string {
	return netip.AddrPortFrom(netip.MustParseAddr(addr), port).String()
}

// mixedTopology has servers that can be reached by every method.
//
//	client, director, rs1 to rs4 ──172.16.0.0/16
//	        director, rs1 to rs4 ──192.168.166.0/24
func mixedTopology() lab.Topology {
	at := func(network, prefix string) lab.Interface {
		addr, _, _ := strings.Cut(prefix, "/")
		return lab.Interface{Network: network, Addresses: []lab.Address{{Prefix: netip.MustParsePrefix(prefix)}, {Prefix: netip.MustParsePrefix(six(addr) + "/64")}}}
	}
	t := lab.Topology{
		Name: "soak", Title: "all methods at once", VIP: netip.MustParseAddr(soakVIPs["-m"]),
		Networks: []lab.Network{{Name: "outside"}, {Name: "inside"}},
		Nodes: []lab.Node{
			{Name: "client", Role: lab.Client, Interfaces: []lab.Interface{at("outside", "172.16.253.36/16")}},
			{Name: "director", Role: lab.Director, Forward: true, Interfaces: []lab.Interface{at("outside", "172.16.253.62/16"), at("inside", "192.168.166.130/24")},
				Setup: []lab.Command{keepIPv6()}},
		},
	}
	for n := 1; n <= steadyOne; n++ {
		t.Nodes = append(t.Nodes, lab.Node{
			Name: fmt.Sprintf("rs%d", n), Role: lab.Real, Gateway: netip.MustParseAddr("192.168.166.130"),
			Interfaces: []lab.Interface{at("inside", serverAddress(n, "-m")+"/24"), at("outside", serverAddress(n, "-g")+"/16")},
			Services: []lab.Service{
				{Name: "http", Ready: "tcp:80", Command: lab.Command{"uvs", "http", "--text", fmt.Sprintf("Web%d", n), "--dns", ":53", "--echo", ":7"}},
				{Name: "decap", Ready: "unix:@uvs-decap", Command: lab.Command{"uvs", "decap"}},
			},
			Setup: serverSetup(),
		})
	}
	return t
}

// keepIPv6 has a node keep its addresses of IPv6 when an interface goes down for a moment, as
// it keeps those of IPv4.
func keepIPv6() lab.Command {
	c := lab.Command{"sysctl", "-qw"}
	for _, where := range []string{"all", "eth0", "eth1"} {
		c = append(c, "net.ipv6.conf."+where+".keep_addr_on_down=1", "net.ipv6.conf."+where+".accept_dad=0")
	}
	return c
}

// serverSetup gives a server the virtual addresses of direct routing and tunnels, and has
// it answer by the director what came from there.
func serverSetup() []lab.Command {
	script := `
		for k in all eth0 eth1; do sysctl -qw net.ipv4.conf.$k.rp_filter=0; done
		sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
		ip rule add from 192.168.166.0/24 lookup 100
		ip route add default via 192.168.166.130 table 100
		ip -6 rule add from fd00:192::/64 lookup 100
		ip -6 route add default via fd00:192::166:130 dev eth0 table 100
	`
	for _, vip := range []string{soakVIPs["-g"], soakVIPs["-i"], steadyVIPs["-g"], steadyVIPs["-i"], soakMarked} {
		script += "ip addr add " + vip + "/32 dev lo\nip -6 addr add " + six(vip) + "/128 dev lo nodad\n"
	}
	return []lab.Command{{"sh", "-ec", script}}
}

// configure makes the configuration the one that a soak begins and ends with: it adds what
// is missing and takes back what was changed.
func (s *soak) configure() {
	s.t.Helper()
	rules := "--set 60 5 5\n"
	for name, value := range map[string]string{"expire_nodest_conn": "0", "sloppy_tcp": "0", "drop_entry": "0", "expire_quiescent_template": "0"} {
		rules += fmt.Sprintf("sysctl net.ipv4.vs.%s=%s\n", name, value)
	}
	for method, vip4 := range steadyVIPs {
		for _, vip := range families(vip4) {
			rules += service("-t", withPort(vip, 80), method, "rr", steadyOne)
		}
	}
	for method, vip4 := range soakVIPs {
		for _, vip := range families(vip4) {
			for _, kind := range soakKinds {
				rules += service(kind.option, withPort(vip, kind.port), method, "rr", 1, 2, 3)
			}
		}
	}
	sh(s.t, s.l, "director", "uvs apply - <<'END'\n"+rules+rulesWithTemplates()+"END\n")
}

// soakKinds are the services of each virtual address.
var soakKinds = []struct {
	option string
	port   uint16
}{{"-t", 80}, {"-u", 53}, {"-u", 7}}

// rulesWithTemplates returns the rules of the services with persistence and FTP. A mark is of one
// address family, so only one has a mark.
func rulesWithTemplates() (rules string) {
	for _, vip := range families(soakPersistent) {
		rules += service("-t", withPort(vip, 80), "--fullnat", "rr -p 3", 1, 2, 3)
	}
	for _, vip := range families(soakVIPs["-m"]) {
		rules += service("-t", withPort(vip, 21), "-m", "rr", 1, 2, 3)
	}
	rules += "mark -F\nmark -A -d " + soakMarked + " -p tcp --dport 80 --set-mark " + soakMark + "\n"
	return rules + service("-f", soakMark, "-g", "rr -p 3", 1, 2, 3)
}

// service returns the rules of a service and its servers, in ipvsadm's words.
func service(kind, at, method, scheduler string, servers ...int) string {
	rules := fmt.Sprintf("-A %s %s -s %s\n", kind, at, scheduler)
	own := func(addr string) string { return addr }
	if strings.HasPrefix(at, "[") {
		own = six
	}
	if method == "--fullnat" {
		rules += fmt.Sprintf("--add-laddr %s %s --laddr %s\n", kind, at, own(soakLocal))
	}
	for _, n := range servers {
		rules += fmt.Sprintf("-a %s %s -r %s %s -w 1\n", kind, at, serverOf(at, n, method), method)
	}
	return rules
}

// serverOf returns a server of a service as ipvsadm takes it: an address of IPv6 has to have
// a port.
func serverOf(at string, n int, method string) string {
	addr := serverAddress(n, method)
	service, err := netip.ParseAddrPort(at)
	if err != nil || service.Addr().Is4() {
		return addr
	}
	return withPort(six(addr), service.Port())
}
