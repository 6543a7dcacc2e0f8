package learn

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"uvs/forwarder/config"
	"uvs/internal/lang"
	"uvs/sched"
)

// Check is something that must be true of the lab.
type Check struct {
	What lang.Text
	// Look returns nil if it is true.
	Look func(*Scene) *Miss
}

// Miss says why a check does not hold: what was seen, and what was wanted.
type Miss struct{ Saw, Want lang.Text }

// missed is a lab that could not be asked.
func missed(err error) *Miss {
	return &Miss{
		Saw:  lang.Textf("%v", "%v", err),
		Want: lang.Text{EN: "an answer of the lab", ZH: "实验环境的回答"},
	}
}

// options are ipvsadm's words for the forwarding methods.
var options = map[string]sched.Method{
	"-m": sched.Masq, "-g": sched.Route, "-i": sched.Tunnel, "--fullnat": sched.FullNAT,
}

// optionOf returns ipvsadm's word for a forwarding method.
func optionOf(m sched.Method) string {
	for word, method := range options {
		if method == m {
			return word
		}
	}
	return m.String()
}

// hasService: the director has a TCP service with a scheduler.
func hasService(at, scheduler string) Check {
	return Check{
		What: lang.Textf("the director has the service %s, scheduler %s", "调度器上有虚拟服务 %s，调度算法为 %s", at, scheduler),
		Look: func(s *Scene) *Miss {
			v, miss := s.wanted(at)
			if miss != nil || v.Scheduler == scheduler {
				return miss
			}
			return &Miss{
				Saw:  lang.Textf("%s has the scheduler %s", "%s 的调度算法是 %s", at, v.Scheduler),
				Want: lang.Textf("-s %s; ipvsadm -E changes it", "-s %s；用 ipvsadm -E 修改", scheduler),
			}
		},
	}
}

// wanted returns the service that must be there, or what there is in its place.
func (s *Scene) wanted(at string) (*config.ServiceState, *Miss) {
	all, err := s.services()
	if err != nil {
		return nil, missed(err)
	}
	var names []string
	for i := range all {
		if v := &all[i]; v.Mark == 0 && v.Proto == config.TCP && netip.AddrPortFrom(v.Addr, v.Port).String() == at {
			return v, nil
		}
		names = append(names, all[i].Key.String())
	}
	m := &Miss{Want: lang.Textf("a service -t %s", "虚拟服务 -t %s", at)}
	m.Saw = lang.Text{EN: "the director has no service", ZH: "调度器上还没有虚拟服务"}
	if len(names) > 0 {
		m.Saw = lang.Textf("the director has %s", "调度器上只有 %s", strings.Join(names, ", "))
	}
	return nil, m
}

// plannedServer is a server in ipvsadm's words: address, method, weight.
type plannedServer struct {
	at     netip.AddrPort
	method sched.Method
	weight int32
}

// plan reads "192.168.166.129 -m -w 2"; the port is the service's unless it is named.
func plan(service, words string) plannedServer {
	f := strings.Fields(words)
	p := plannedServer{weight: 1, method: options[f[1]]}
	if at, err := netip.ParseAddrPort(f[0]); err == nil {
		p.at = at
	} else {
		p.at = netip.AddrPortFrom(netip.MustParseAddr(f[0]), netip.MustParseAddrPort(service).Port())
	}
	if len(f) > 3 && f[2] == "-w" {
		n, _ := strconv.ParseInt(f[3], 10, 32)
		p.weight = int32(n)
	}
	return p
}

// hasServers: the service has exactly these real servers, each written in ipvsadm's words, as
// in "192.168.166.129 -m -w 2".
func hasServers(service string, servers ...string) Check {
	return Check{
		What: lang.Textf("its real servers: %s", "它的真实服务器：%s", strings.Join(servers, ", ")),
		Look: func(s *Scene) *Miss {
			v, miss := s.wanted(service)
			if miss != nil {
				return miss
			}
			var plans []plannedServer
			for _, words := range servers {
				plans = append(plans, plan(service, words))
			}
			return differs(v, service, plans)
		},
	}
}

// differs returns the first difference between a service's servers and those planned.
func differs(v *config.ServiceState, service string, plans []plannedServer) *Miss {
	for _, p := range plans {
		i := slices.IndexFunc(v.Servers, func(r config.ServerState) bool { return r.AddrPort() == p.at })
		if i < 0 {
			return &Miss{
				Saw:  lang.Textf("%v is not a real server of %s, which has: %s", "%v 不是 %s 的真实服务器，现有：%s", p.at, service, listed(v)),
				Want: lang.Textf("%v with %s", "%v，转发模式 %s", p.at, optionOf(p.method)),
			}
		}
		r := &v.Servers[i]
		if r.Method != p.method {
			return &Miss{
				Saw:  lang.Textf("%v has the forwarding method %v (%s)", "%v 的转发模式是 %v（%s）", p.at, r.Method, optionOf(r.Method)),
				Want: lang.Textf("%v (%s)", "%v（%s）", p.method, optionOf(p.method)),
			}
		}
		if r.Weight != p.weight {
			return &Miss{
				Saw:  lang.Textf("%v has weight %d", "%v 的权重是 %d", p.at, r.Weight),
				Want: lang.Textf("weight %d", "权重 %d", p.weight),
			}
		}
	}
	for i := range v.Servers {
		at := v.Servers[i].AddrPort()
		if !slices.ContainsFunc(plans, func(p plannedServer) bool { return p.at == at }) {
			return &Miss{
				Saw:  lang.Textf("%[1]v is a real server of %[2]s, too", "%[2]s 还多了真实服务器 %[1]v", at, service),
				Want: lang.Textf("it away: ipvsadm -d -t %s -r %v", "去掉它：ipvsadm -d -t %s -r %v", service, at),
			}
		}
	}
	return nil
}

// listed lists a service's servers.
func listed(v *config.ServiceState) string {
	var all []string
	for i := range v.Servers {
		all = append(all, v.Servers[i].AddrPort().String())
	}
	if len(all) == 0 {
		return "-"
	}
	return strings.Join(all, ", ")
}

// persistent: the service keeps a client with its server, and clients of one network together
// if a mask is named.
func persistent(service string, seconds uint32, mask string) Check {
	words := fmt.Sprintf("-p %d", seconds)
	switch {
	case seconds == 0:
		words = "no -p"
	case mask != "":
		words += " -M " + mask
	}
	return Check{
		What: lang.Textf("persistence of %s: %s", "%s 的持久连接设置：%s", service, words),
		Look: func(s *Scene) *Miss {
			v, miss := s.wanted(service)
			if miss != nil {
				return miss
			}
			got := v.Netmask
			if got == "255.255.255.255" {
				got = ""
			}
			if v.Persistent == seconds && (got == mask || seconds == 0) {
				return nil
			}
			return &Miss{
				Saw:  lang.Textf("timeout %d s, mask %q", "超时 %d 秒，掩码 %q", v.Persistent, v.Netmask),
				Want: lang.Textf("%s", "%s", words),
			}
		},
	}
}

// hasLocal: the service has a local address for FULLNAT.
func hasLocal(service, local string) Check {
	return Check{
		What: lang.Textf("%s has the local address %s", "%s 有本地地址 %s", service, local),
		Look: func(s *Scene) *Miss {
			v, miss := s.wanted(service)
			if miss != nil {
				return miss
			}
			if slices.Equal(v.Local, []netip.Addr{netip.MustParseAddr(local)}) {
				return nil
			}
			return &Miss{
				Saw:  lang.Textf("its local addresses are %v", "它的本地地址是 %v", v.Local),
				Want: lang.Textf("%s alone: ipvsadm --add-laddr -t %s --laddr %s", "只有 %s：ipvsadm --add-laddr -t %s --laddr %s", local, service, local),
			}
		},
	}
}
