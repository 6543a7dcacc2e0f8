package doctor

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"uvs/forwarder/config"
	"uvs/sched"
)

// A host as it is seen without a lab: a director with one service by NAT, two servers.
func natHost() *Host {
	server := func(a string) config.ServerState {
		return config.ServerState{Server: config.Server{Addr: netip.MustParseAddr(a), Port: 80, Method: sched.Masq, Weight: 1}}
	}
	return &Host{
		Time:    time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		Guarded: true,
		Links:   []Link{{Index: 1, Name: "lo", Up: true, Loopback: true}, {Index: 2, Name: "eth0", MAC: "02:00:00:00:00:01", Up: true}, {Index: 3, Name: "eth1", MAC: "02:00:00:00:00:02", Up: true}},
		Addresses: []Address{
			{"eth0", netip.MustParsePrefix("192.0.2.1/24")}, {"eth0", netip.MustParsePrefix("192.0.2.100/32")}, {"eth1", netip.MustParsePrefix("10.0.0.1/24")},
		},
		Ways: map[string]Way{
			"10.0.0.11": {Link: "eth1"}, "10.0.0.12": {Link: "eth1"}, "192.0.2.100": {Link: "lo", Local: true},
			"198.51.100.7": {Link: "eth0", Gateway: netip.MustParseAddr("192.0.2.254")}, "10.0.0.77": {Link: "eth1"},
		},
		Neighbours: []Neighbour{{Addr: netip.MustParseAddr("10.0.0.11"), MAC: "02:00:00:00:00:11", Link: "eth1"}},
		Sysctls:    map[string]string{"net.ipv4.ip_forward": "1"},
		Director: &Director{
			PID: 7, Timeouts: config.Timeouts{TCP: 900, TCPFin: 120, UDP: 300}, Rose: map[string]uint64{}, Gained: map[string]Gain{},
			Services: []config.ServiceState{{
				Service: config.Service{Key: config.Key{Proto: config.TCP, Addr: netip.MustParseAddr("192.0.2.100"), Port: 80, Family: config.IPv4}, Scheduler: "rr"},
				Servers: []config.ServerState{server("10.0.0.11"), server("10.0.0.12")},
			}},
		},
	}
}

// by has all servers reached by a method.
func (h *Host) by(m sched.Method) {
	for i := range h.Director.Services[0].Servers {
		h.Director.Services[0].Servers[i].Method = m
	}
}

// waiting adds connections to a server that wait for its answer.
func (h *Host) waiting(n int, client, server string) {
	for i := range n {
		h.Director.Conns = append(h.Director.Conns, config.Connection{
			Proto: config.TCP, Client: netip.MustParseAddrPort(fmt.Sprintf("%s:%d", client, 5000+i)),
			Server: netip.MustParseAddrPort(server), State: "SYN_RECV", Expires: 40_000,
		})
	}
}

func (h *Host) saw(kind, from string, n int) {
	h.Sight.Seen = append(h.Sight.Seen, Sighting{Kind: kind, From: netip.MustParseAddrPort(from), Link: "eth1", Count: n})
}

func (h *Host) rule(hook, text string) {
	h.Rules = append(h.Rules, FilterRule{Hook: hook, Text: text, Where: "inet filter x", Delete: "nft delete rule inet filter x handle 4"})
}

// asked notes what the first server answered, through the virtual address and at its own;
// empty: it served.
func (h *Host) asked(m sched.Method, vip, own string) {
	word, _ := m.MarshalText()
	result := func(answer string) config.ProbeResult { return config.ProbeResult{OK: answer == "", Answer: answer} }
	h.by(m)
	h.Director.Probes = []config.CheckState{{
		Service: h.Director.Services[0].Key, Server: netip.MustParseAddrPort("10.0.0.11:80"), Method: string(word),
		Weight: 1, VIP: result(vip), Own: result(own), Result: "in words",
	}}
}

func TestWhatIsSeenOnADirectorsHostIsJudged(t *testing.T) {
	const serverName1 = "-t 192.0.2.100:80 -r 10.0.0.11:80"
	vip := netip.MustParseAddr("192.0.2.100")
	for _, c := range []struct {
		sentence string
		change   func(*Host)
		want     string // code and severity of the first finding; empty: nothing is found
		evidence string
	}{
		{"all is well", func(*Host) {}, "", ""},
		{"servers answer", func(h *Host) {
			h.Director.Gained[serverName1] = Gain{9, 90, 80}
			h.saw("syn-ack", "10.0.0.11:80", 9)
		}, "", ""},
		{"a connection has just begun", func(h *Host) { h.waiting(1, "198.51.100.7", "10.0.0.11:80") }, "", ""},
		{"a server got connections and sent nothing", func(h *Host) { h.Director.Gained[serverName1] = Gain{5, 9, 0} }, "LVS001 error", "5 new connections"},
		{"connections wait for a server", func(h *Host) { h.waiting(4, "198.51.100.7", "10.0.0.11:80") }, "LVS001 error", "4 connections"},
		{"connections of the servers' network wait", func(h *Host) { h.waiting(4, "10.0.0.77", "10.0.0.11:80") }, "LVS002 error", "10.0.0.77"},
		{"a server resets", func(h *Host) { h.saw("rst", "10.0.0.11:80", 6) }, "LVS022 error", "6 RSTs"},
		{"a server resets connections that it had taken", func(h *Host) {
			h.saw("rst", "10.0.0.11:80", 6)
			h.saw("syn-ack", "10.0.0.11:80", 6)
		}, "", ""},
		{"a server says protocol unreachable", func(h *Host) { h.by(sched.Tunnel); h.saw("icmp 3/2", "10.0.0.11:0", 3) }, "LVS009 error", "3 ICMP"},
		{"a server says administratively prohibited", func(h *Host) { h.saw("icmp 3/13", "10.0.0.12:0", 3) }, "LVS013 error", "10.0.0.12"},
		{"a router says too big", func(h *Host) { h.saw("icmp 3/4", "192.0.2.254:0", 5) }, "LVS010 warning", "5 times"},
		{"a server claims the virtual address", func(h *Host) {
			h.by(sched.Route)
			h.Sight.Claims = []Claim{{vip, "02:00:00:00:00:11", "eth1", 2}}
		}, "LVS004 error", "10.0.0.11"},
		{"a stranger claims the virtual address", func(h *Host) { h.Sight.Claims = []Claim{{vip, "02:00:00:00:00:99", "eth0", 2}} }, "LVS024 error", "02:00:00:00:00:99"},
		{"the other director has the virtual address", func(h *Host) {
			h.Sight.Claims = []Claim{{vip, "02:00:00:00:00:99", "eth0", 2}}
			h.Director.Silent = []netip.Addr{vip}
		}, "", ""},
		{"a server is not on the network", func(h *Host) { h.Neighbours[0].Failed = true }, "LVS007 error", "10.0.0.11 does not answer"},
		{"a server has no route", func(h *Host) { h.Ways["10.0.0.12"] = Way{Error: "no route"} }, "LVS007 error", "no route"},
		{"direct routing over a router", func(h *Host) {
			h.by(sched.Route)
			h.Ways["10.0.0.12"] = Way{Link: "eth0", Gateway: netip.MustParseAddr("192.0.2.254")}
		}, "LVS007 error", "router"},
		{"no guard, and the host has the address", func(h *Host) { h.Guarded = false }, "LVS019 error", "192.0.2.100/32"},
		{"no guard, and the host forwards", func(h *Host) { h.Guarded, h.Addresses = false, h.Addresses[:1] }, "LVS020 error", "ip_forward = 1"},
		{"no guard, and neither", func(h *Host) {
			h.Guarded, h.Addresses = false, h.Addresses[:1]
			h.Sysctls = nil
		}, "", ""},
		{"persistence, spread over servers", func(h *Host) {
			h.Director.Services[0].Persistent = 300
			h.Director.Services[0].Servers[0].Stats.Conns, h.Director.Services[0].Servers[1].Stats.Conns = 6, 5
		}, "", ""},
		{"persistence, all on one server", func(h *Host) {
			h.Director.Services[0].Persistent = 300
			h.Director.Services[0].Servers[0].Stats.Conns = 6
		}, "LVS012 warning", "6 of 6"},
		{"all weights are 0", func(h *Host) {
			h.Director.Services[0].Servers[0].Weight, h.Director.Services[0].Servers[1].Weight = 0, 0
		}, "LVS023 error", "weight 0"},
		{"a service without servers", func(h *Host) { h.Director.Services[0].Servers = nil }, "LVS023 error", "no servers"},
		{"a port that direct routing ignores", func(h *Host) { h.by(sched.Route); h.Director.Services[0].Servers[0].Port = 8080 }, "LVS006 error", "8080"},
		{"a long timeout after the FIN", func(h *Host) { h.Director.Timeouts.TCPFin = 7200 }, "LVS014 warning", "7200"},
		{"a local address that leads nowhere", func(h *Host) {
			h.by(sched.FullNAT)
			h.Director.Services[0].Local = []netip.Addr{netip.MustParseAddr("203.0.113.5")}
		}, "LVS018 error", "203.0.113.5"},
		{"drop_packet", func(h *Host) { h.Director.Sysctls = []config.Sysctl{{Name: "drop_packet", Value: "3"}} }, "LVS028 error", "drop_packet = 3"},
		{"a mark without a rule", func(h *Host) { h.Director.Services[0].Key = config.Key{Mark: 7, Family: config.IPv4} }, "LVS029 error", "no rule"},
		{"frames were lost", func(h *Host) { h.Director.Rose["port-ring-drops"] = 12 }, "LVS031 warning", "12"},
		{"rp_filter drops", func(h *Host) { h.Director.Rose["drop-rp-filter"] = 4 }, "LVS003 warning", "rose by 4"},
		{"an interface is left out", func(h *Host) { h.Director.Interfaces = []string{"eth0"} }, "LVS032 error", "-i eth0"},
		{"LRO", func(h *Host) { h.Links[1].LRO = true }, "LVS033 error", "large-receive-offload"},
		{"the clock is not set", func(h *Host) { h.Time = time.Unix(0, 0) }, "LVS034 warning", "1970"},
		{"a capability is missing", func(h *Host) { h.Director.Lacks = []string{"CAP_NET_ADMIN"} }, "LVS035 error", "CapEff"},
		{"a second director", func(h *Host) { h.Director.Others = []Other{{9, "@two", vip}} }, "LVS036 error", "@two"},
		{"no director", func(h *Host) { h.Director = nil }, "LVS030 error", "control socket"},
		{"an egress chain drops", func(h *Host) { h.rule("egress", "tcp dport 80 drop") }, "LVS013 error", "egress"},
		{"an input chain drops what it does not see", func(h *Host) { h.rule("input", "ip daddr 192.0.2.100 drop") }, "LVS027 warning", "hook input"},
		{"a firewall for the host itself", func(h *Host) {
			h.rule("input", "policy drop")
			h.rule("input", "ct state established,related accept")
			h.rule("input", "tcp dport 22 accept")
		}, "", ""},
		{"states of connections that are seen half", func(h *Host) {
			h.by(sched.Route)
			h.rule("forward", "ip daddr 192.0.2.100 tcp dport 80 ct state established accept")
		}, "LVS015 warning", "ct state"},
		{"a SYN proxy of the kernel", func(h *Host) { h.by(sched.Route); h.rule("input", "tcp dport 80 synproxy mss 1460") }, "LVS016 error", "synproxy"},
		{"the table of connections is full", func(h *Host) { h.Tracked = Tracked{Count: 90, Max: 100} }, "LVS015 warning", "90 of"},
		{"half connections in the table", func(h *Host) { h.by(sched.Route); h.Tracked.Halves = map[string]int{"192.0.2.100:80": 40} }, "LVS015 warning", "40 entries"},
		{"a client on the director", func(h *Host) {
			h.by(sched.Route)
			h.Clients = []ClientSocket{{netip.MustParseAddrPort("192.0.2.100:80"), 42, "curl"}}
		}, "LVS011 error", "process 42 (curl)"},
		{"a client on the director, by NAT", func(h *Host) {
			h.Clients = []ClientSocket{{netip.MustParseAddrPort("192.0.2.100:80"), 42, "curl"}}
		}, "", ""},
		{"a server answers when it is asked", func(h *Host) { h.asked(sched.Masq, "", "") }, "", ""},
		{"a server by NAT answers past the director", func(h *Host) { h.asked(sched.Masq, "no answer", "") }, "LVS001 error", "through 192.0.2.100: no answer"},
		{"a server by direct routing lacks the address", func(h *Host) { h.asked(sched.Route, "no answer", "") }, "LVS021 error", "no answer"},
		{"a server listens at its own address only", func(h *Host) { h.asked(sched.Route, "refused", "") }, "LVS008 error", "refused"},
		{"a tunnel's end is closed", func(h *Host) { h.asked(sched.Tunnel, "no answer", "") }, "LVS009 error", "no answer"},
		{"nobody listens", func(h *Host) { h.asked(sched.Masq, "refused", "refused") }, "LVS022 error", "refused"},
		{"a server is silent", func(h *Host) { h.asked(sched.Masq, "no answer", "no answer") }, "LVS037 error", "no answer"},
		{"a server that is there says unreachable", func(h *Host) { h.asked(sched.Masq, "host unreachable", "host unreachable") }, "LVS013 error", "unreachable"},
		{"a server is silent, and why is known", func(h *Host) {
			h.asked(sched.Masq, "no answer", "no answer")
			h.Guarded = false
		}, "LVS019 error", ""},
	} {
		h := natHost()
		c.change(h)
		r := Diagnose(&Scene{Hosts: []*Host{h}})
		got, evidence := "", ""
		if len(r.Findings) > 0 {
			got, evidence = r.Findings[0].Code+" "+string(r.Findings[0].Severity), strings.Join(r.Findings[0].Evidence, "; ")
		}
		if got != c.want || !strings.Contains(evidence, c.evidence) {
			t.Errorf("%s: %q, %q expected, with %q in %q", c.sentence, got, c.want, c.evidence, evidence)
		}
		for _, f := range r.Findings {
			if len(f.Fix) == 0 || len(f.Evidence) == 0 || f.Why == "" {
				t.Errorf("%s: %s says too little: %+v", c.sentence, f.Code, f)
			}
		}
	}
}
