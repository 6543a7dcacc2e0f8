package lab

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
)

// pairs are the topologies with two directors, and the one that each is made from. Which
// director has the virtual address is keepalived's decision, by VRRP.
var pairs = map[string]string{"ha": "nat", "ha-dr": "dr", "ha-tun": "tun", "ha-fullnat": "fullnat"}

// PairNames returns the names of the topologies with two directors in order, which need
// keepalived.
func PairNames() []string {
	var names []string
	for n := range pairs {
		names = append(names, n, n+"6")
	}
	slices.Sort(names)
	return names
}

// Paired reports whether a topology has two directors.
func (t *Topology) Paired() bool { return t.Node(standby) != nil }

// Names of the two directors, of the directory below a node's own that its director keeps its
// state in, and of the file that says whether it is alive.
const (
	active    = "director"
	standby   = "standby"
	stateName = "state"
	aliveName = "alive"
)

// syncID is that of the connection synchronization, and the number of the virtual router.
const syncID = "51"

// pair gives a topology a second director, and to both of them keepalived and the
// synchronization of connections. It is called when addresses are what they stay.
func (t *Topology) pair(method string) {
	t.Title += ", by two directors with keepalived"
	d := t.Director()
	d.Forward = false // the host forwards nothing, also while the director is dead
	gateway := netip.Addr{}
	if method == "nat" { // the servers' gateway goes with the virtual address
		inside := &d.Interfaces[1].Addresses[0]
		gateway = inside.Prefix.Addr()
		inside.Prefix = netip.PrefixFrom(before(gateway, 4), inside.Prefix.Bits())
	}
	twin := *d
	twin.Name, twin.Interfaces = standby, nil
	for _, i := range d.Interfaces {
		p := i.Addresses[0].Prefix
		twin.Interfaces = append(twin.Interfaces, iface(i.Network, Address{Prefix: netip.PrefixFrom(before(p.Addr(), 2), p.Bits())}))
	}
	link := fmt.Sprintf("eth%d", len(d.Interfaces)-1)
	t.alike(d, link, gateway, 150)
	t.alike(&twin, link, gateway, 100)
	d.Services[0].Command = append(d.Services[0].Command, "--keep")
	at := slices.IndexFunc(t.Nodes, func(n Node) bool { return n.Name == active }) + 1
	t.Nodes = slices.Insert(t.Nodes, at, twin)
}

// before returns the address n before another.
func before(a netip.Addr, n int) netip.Addr {
	for range n {
		a = a.Prev()
	}
	return a
}

// alike makes a node one of the two directors. Its rules file has what keepalived does not
// say: the synchronization daemons, and services by FULLNAT.
func (t *Topology) alike(n *Node, syncLink string, gateway netip.Addr, priority int) {
	group := ""
	if t.VIP.Is6() {
		group = " --mcast-group ff02::81"
	}
	var rules strings.Builder
	servers := ""
	if slices.Contains(n.Setup[len(n.Setup)-1], "--fullnat") {
		for _, c := range n.Setup {
			fmt.Fprintln(&rules, Command(c[1:]))
		}
	} else {
		servers = t.virtualServer(n.Setup)
	}
	for _, state := range []string{"master", "backup"} {
		fmt.Fprintf(&rules, "--start-daemon %s --mcast-interface %s --syncid %s%s\n", state, syncLink, syncID, group)
	}
	n.Setup = nil
	dir := n.Directory()
	n.Files = []File{
		{"keepalived.conf", t.keepalivedConf(n, gateway, priority) + servers},
		{"rules", rules.String()},
		{aliveName, "-254\n"},
	}
	n.Services = []Service{
		{Name: "director", Ready: "unix:@uvs",
			Command: Command{"uvs", "director", "--vip-role", "host", "--state", dir + "/" + stateName, "--rules", dir + "/rules"}},
		{Name: "alive", Command: Command{"uvs", "alive", "--grace", "1s", "--file", dir + "/" + aliveName},
			Ready: "alive:" + dir + "/" + aliveName}, // keepalived ends if it is started before a director answers
		{Name: "keepalived", Late: true, Command: Command{"keepalived", "--dont-fork", "--log-console", "--use-file", dir + "/keepalived.conf",
			"--pid", dir + "/pid", "--vrrp_pid", dir + "/vrrp", "--checkers_pid", dir + "/checkers"}},
	}
	if n.Name == standby { // it has no keeper
		n.Services[1].Command = slices.DeleteFunc(n.Services[1].Command, func(w string) bool { return w == "--grace" || w == "1s" })
	}
}

// keepalivedConf returns the part of keepalived's configuration that is about VRRP: version 3,
// with an advertisement every tenth of a second. An IPv6 instance begins with an address of
// the link.
func (t *Topology) keepalivedConf(n *Node, gateway netip.Addr, priority int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "global_defs {\n  router_id %s\n}\n", n.Name)
	fmt.Fprintf(&b, "track_file director {\n  file %s/%s\n  weight 1\n}\n", n.Directory(), aliveName)
	fmt.Fprintf(&b, "vrrp_instance VIP {\n  state BACKUP\n  nopreempt\n  interface eth0\n  virtual_router_id %s\n  priority %d\n"+
		"  version 3\n  advert_int 0.1\n", syncID, priority)
	if len(n.Interfaces) > 1 {
		fmt.Fprint(&b, "  track_interface {\n    eth1\n  }\n")
	}
	fmt.Fprint(&b, "  track_file {\n    director\n  }\n  virtual_ipaddress {\n")
	if t.VIP.Is6() {
		fmt.Fprint(&b, "    fe80::51 dev eth0\n")
	}
	fmt.Fprintf(&b, "    %s/%d dev eth0\n", t.VIP, t.VIP.BitLen())
	if gateway.IsValid() {
		fmt.Fprintf(&b, "    %s/%d dev eth1\n", gateway, gateway.BitLen())
	}
	fmt.Fprint(&b, "  }\n}\n")
	return b.String()
}

// virtualServer returns what ipvsadm commands say in keepalived's words.
func (t *Topology) virtualServer(setup []Command) string {
	kinds := map[string]string{"-m": "NAT", "-g": "DR", "-i": "TUN"}
	var b strings.Builder
	for i, c := range setup {
		words := []string(c)
		if i == 0 {
			last := setup[len(setup)-1]
			kind := kinds[last[len(last)-1]]
			fmt.Fprintf(&b, "virtual_server %s 80 {\n  lb_algo %s\n  lb_kind %s\n  protocol TCP\n  delay_loop 1\n", t.VIP, words[len(words)-1], kind)
			continue
		}
		server := words[slices.Index(words, "-r")+1]
		if ap, err := netip.ParseAddrPort(server); err == nil {
			server = ap.Addr().String()
		}
		fmt.Fprintf(&b, "  real_server %s 80 {\n    weight 1\n    TCP_CHECK {\n      connect_timeout 1\n    }\n  }\n", server)
	}
	fmt.Fprint(&b, "}\n")
	return b.String()
}

// HowToGetKeepalived says how to install keepalived where it is missing and a topology needs
// it; it returns nil otherwise.
func (t *Topology) HowToGetKeepalived() error {
	if !t.Paired() {
		return nil
	}
	for _, path := range []string{"keepalived", "/usr/sbin/keepalived", "/usr/local/sbin/keepalived", "/sbin/keepalived"} {
		if _, err := exec.LookPath(path); err == nil {
			return nil
		}
	}
	return fmt.Errorf("lab: %s needs keepalived, which is not installed: apt-get install keepalived (Debian, Ubuntu), "+
		"dnf install keepalived (Fedora, RHEL), apk add keepalived (Alpine)", t.Name)
}
