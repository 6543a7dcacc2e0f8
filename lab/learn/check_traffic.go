package learn

import (
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"uvs/forwarder/config"
	"uvs/internal/lang"
)

// Shares are what real servers are to have of the connections, by address and port.
type Shares map[string]int

// unanswered are the states of TCP connections that no server has taken.
var unanswered = []string{"NONE", "SYN_SENT", "SYN_RECV", "CLOSE"}

// came counts the connections since the step began, by server: those that a server took, and
// those that none did.
func (s *Scene) came(service string) (taken map[string]int, waiting int, err error) {
	news, err := s.news(service)
	taken = map[string]int{}
	for i := range news {
		if slices.Contains(unanswered, news[i].State) {
			waiting++
			continue
		}
		taken[news[i].Server.String()]++
	}
	return taken, waiting, err
}

// spread: since the step began at least so many connections came to a service, and its
// servers had their shares of them.
func spread(service string, least int, shares Shares) Check {
	return Check{
		What: lang.Textf("at least %d requests were answered, shared out %s", "至少 %d 个请求得到了应答，分配为 %s", least, ratio(shares)),
		Look: func(s *Scene) *Miss {
			taken, waiting, err := s.came(service)
			if err != nil {
				return missed(err)
			}
			sum, all := 0, 0
			for _, n := range taken {
				sum += n
			}
			for _, w := range shares {
				all += w
			}
			m := &Miss{
				Saw:  lang.Textf("%d answered since the step began: %s", "本步骤开始以来应答了 %d 个：%s", sum, counts(taken)),
				Want: lang.Textf("at least %d, as %s", "至少 %d 个，比例 %s", least, ratio(shares)),
			}
			if waiting > 0 {
				m.Saw.EN += fmt.Sprintf("; %d got no answer", waiting)
				m.Saw.ZH += fmt.Sprintf("；%d 个没有应答", waiting)
			}
			if sum < least {
				return m
			}
			for server, w := range shares {
				// In units of 1/all connections: a round that has not ended may be off by the weight.
				if off := taken[server]*all - sum*w; max(off, -off) > max(w, 1)*all {
					return m
				}
			}
			return nil
		},
	}
}

// ratio writes shares as "129:80 2 : 131:80 1", in the order of the servers.
func ratio(shares Shares) string {
	var all []string
	for _, server := range sortedKeys(shares) {
		all = append(all, fmt.Sprintf("%s %d", server, shares[server]))
	}
	return strings.Join(all, " : ")
}

func counts(taken map[string]int) string {
	if len(taken) == 0 {
		return "-"
	}
	return strings.ReplaceAll(ratio(taken), " : ", ", ")
}

func sortedKeys(m map[string]int) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// oneServer: since the step began at least so many connections came, all to one server.
func oneServer(service string, least int) Check {
	return Check{
		What: lang.Textf("at least %d requests were answered, all by the same real server", "至少 %d 个请求得到了应答，都来自同一台真实服务器", least),
		Look: func(s *Scene) *Miss {
			taken, _, err := s.came(service)
			if err != nil {
				return missed(err)
			}
			sum := 0
			for _, n := range taken {
				sum += n
			}
			if len(taken) == 1 && sum >= least {
				return nil
			}
			return &Miss{
				Saw:  lang.Textf("%d answered since the step began: %s", "本步骤开始以来应答了 %d 个：%s", sum, counts(taken)),
				Want: lang.Textf("at least %d, of one real server", "至少 %d 个，且只来自一台真实服务器", least),
			}
		},
	}
}

// template returns the persistence template of a client, or of a network, at a service.
func (s *Scene) template(service, client string) (found *config.Connection, all []string, err error) {
	templates, err := s.connections(true)
	for i := range templates {
		c := &templates[i]
		if c.Virtual.String() != service {
			continue
		}
		all = append(all, c.Client.Addr().String())
		if c.Client.Addr().String() == client {
			found = c
		}
	}
	return found, all, err
}

// hasTemplate: a client, or a network, has a persistence template at a service.
func hasTemplate(service, client string) Check {
	return Check{
		What: lang.Textf("%s has a template", "%s 有连接模板", client),
		Look: func(s *Scene) *Miss {
			found, all, err := s.template(service, client)
			if err != nil {
				return missed(err)
			}
			if found != nil {
				return nil
			}
			return &Miss{
				Saw:  lang.Textf("templates of %v", "现有模板属于 %v", all),
				Want: lang.Textf("one of %s", "属于 %s 的模板", client),
			}
		},
	}
}

// templateServer answers to which real server a template leads.
func templateServer(service, client string) func(*Scene) (string, error) {
	return func(s *Scene) (string, error) {
		found, all, err := s.template(service, client)
		if err == nil && found == nil {
			err = fmt.Errorf("there are templates of %v only", all)
		}
		if err != nil {
			return "", err
		}
		return found.Server.Addr().String(), nil
	}
}

// noAnswer: since the step began a connection came that no server took.
func noAnswer(service string) Check {
	return Check{
		What: lang.Text{EN: "a request came to the director and got no answer", ZH: "有请求到达了调度器，但没有得到应答"},
		Look: func(s *Scene) *Miss {
			taken, waiting, err := s.came(service)
			if err != nil {
				return missed(err)
			}
			if waiting > 0 {
				return nil
			}
			return &Miss{
				Saw:  lang.Textf("no such connection since the step began (answered: %s)", "本步骤开始以来没有这样的连接（已应答：%s）", counts(taken)),
				Want: lang.Text{EN: "a connection in SYN_RECV in ipvsadm -Lnc", ZH: "ipvsadm -Lnc 中出现 SYN_RECV 状态的连接"},
			}
		},
	}
}

// getWithin is how long a request of a check may take.
const getWithin = 3 * time.Second

// Get fetches a page from a node, over a connection of its own.
func (s *Scene) Get(node, url string) (string, error) {
	c := s.Lab.HTTPClient(node)
	c.Timeout = getWithin
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, resp.Status)
	}
	return strings.TrimSpace(string(body)), err
}

// clientSeen asks a page that says who asks, and returns the address without the port.
func (s *Scene) clientSeen(node, url string) (string, error) {
	page, err := s.Get(node, url)
	if err != nil {
		return "", err
	}
	at, err := netip.ParseAddrPort(page)
	return at.Addr().Unmap().String(), err
}

// countWithin is how long the director's counters may take to show in a listing: they change
// every two seconds, as the kernel's do.
const countWithin = 5 * time.Second

// counted: the counters of a service show at least so many connections of each real server,
// with bytes from clients, and with bytes to them if replies pass the director.
func counted(service string, each int, replies bool) Check {
	what := lang.Textf("the counters show %d connections of each real server, and no packet back", "计数器显示每台真实服务器有 %d 个连接，没有返回的报文", each)
	if replies {
		what = lang.Textf("the counters show %d connections of each real server, and packets both ways", "计数器显示每台真实服务器有 %d 个连接，双向都有报文", each)
	}
	return Check{What: what, Look: func(s *Scene) (miss *Miss) {
		for deadline := time.Now().Add(countWithin); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			v, none := s.wanted(service)
			if none != nil {
				return none
			}
			if miss = uncounted(v, each, replies); miss == nil || !s.promising(service, each*len(v.Servers)) {
				return miss
			}
		}
		return miss
	}}
}

// promising reports whether so many connections have come that the counters will show them.
func (s *Scene) promising(service string, conns int) bool {
	taken, _, err := s.came(service)
	for _, n := range taken {
		conns -= n
	}
	return err == nil && conns <= 0
}

func uncounted(v *config.ServiceState, each int, replies bool) *Miss {
	for i := range v.Servers {
		r := &v.Servers[i]
		if int(r.Stats.Conns) >= each && r.Stats.InPkts > 0 && (r.Stats.OutPkts > 0) == replies {
			continue
		}
		m := &Miss{
			Saw:  lang.Textf("%v: Conns %d, InPkts %d, OutPkts %d", "%v：Conns %d，InPkts %d，OutPkts %d", r.AddrPort(), r.Stats.Conns, r.Stats.InPkts, r.Stats.OutPkts),
			Want: lang.Textf("at least %d connections, OutPkts 0", "至少 %d 个连接，OutPkts 为 0", each),
		}
		if replies {
			m.Want = lang.Textf("at least %d connections, packets both ways", "至少 %d 个连接，双向都有报文", each)
		}
		return m
	}
	return nil
}

// repliesOf answers how many packets to clients the counters show for a service.
func repliesOf(service string) func(*Scene) (string, error) {
	return func(s *Scene) (string, error) {
		v, err := s.service(service)
		if err == nil && v == nil {
			err = fmt.Errorf("there is no service %s", service)
		}
		if err != nil {
			return "", err
		}
		return fmt.Sprint(v.Stats.OutPkts), nil
	}
}

// connsOf answers how many connections the counters show for a real server.
func connsOf(service, server string) func(*Scene) (string, error) {
	return func(s *Scene) (string, error) {
		v, err := s.service(service)
		if err != nil {
			return "", err
		}
		if v != nil {
			for i := range v.Servers {
				if v.Servers[i].AddrPort().String() == server {
					return fmt.Sprint(v.Servers[i].Stats.Conns), nil
				}
			}
		}
		return "", fmt.Errorf("%s is not a real server of %s", server, service)
	}
}
