package learn

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"uvs/forwarder/config"
	"uvs/internal/lang"
)

// realServer returns a real server of a service, or what there is in its place.
func (s *Scene) realServer(service, server string) (*config.ServerState, *Miss) {
	v, miss := s.wanted(service)
	if miss != nil {
		return nil, miss
	}
	for i := range v.Servers {
		if v.Servers[i].AddrPort().String() == server {
			return &v.Servers[i], nil
		}
	}
	return nil, &Miss{
		Saw:  lang.Textf("%s is not a real server of %s", "%s 不是 %s 的真实服务器", server, service),
		Want: lang.Textf("it among them: ipvsadm -a", "加入它：ipvsadm -a"),
	}
}

// untouched: since the step began at least so many connections were answered, and none of
// them by a real server.
func untouched(service, server string, least int) Check {
	return Check{
		What: lang.Textf("at least %d requests were answered, none of them by %s", "至少 %d 个请求得到了应答，都不是由 %s 应答的", least, server),
		Look: func(s *Scene) *Miss {
			taken, _, err := s.came(service)
			if err != nil {
				return missed(err)
			}
			sum := 0
			for _, n := range taken {
				sum += n
			}
			if sum >= least && taken[server] == 0 {
				return nil
			}
			return &Miss{
				Saw:  lang.Textf("%d answered since the step began: %s", "本步骤开始以来应答了 %d 个：%s", sum, counts(taken)),
				Want: lang.Textf("at least %d, none by %s; type again brings the step to its beginning", "至少 %d 个，都不由 %s 应答；输入 again 可以从头开始本步骤", least, server),
			}
		},
	}
}

// stillActive: a real server has active connections.
func stillActive(service, server string) Check {
	return Check{
		What: lang.Textf("%s still has active connections", "%s 上仍有活动连接", server),
		Look: func(s *Scene) *Miss {
			r, miss := s.realServer(service, server)
			if miss != nil || r.Active > 0 {
				return miss
			}
			return &Miss{
				Saw:  lang.Textf("%s has none", "%s 上没有", server),
				Want: lang.Text{EN: "some; type again to begin the step anew", ZH: "有活动连接；输入 again 重新开始本步骤"},
			}
		},
	}
}

// activeOf answers how many active connections a real server has, or all of a service.
func activeOf(service, server string) func(*Scene) (string, error) {
	return func(s *Scene) (string, error) {
		v, err := s.service(service)
		if err != nil || v == nil {
			return "", fmt.Errorf("no service %s: %w", service, err)
		}
		n := uint32(0)
		for i := range v.Servers {
			if server == "" || v.Servers[i].AddrPort().String() == server {
				n += v.Servers[i].Active
			}
		}
		return strconv.Itoa(int(n)), nil
	}
}

// limited: a real server has these thresholds.
func limited(service, server string, upper, lower uint32) Check {
	return Check{
		What: lang.Textf("the thresholds of %s are %d and %d", "%s 的阈值为 %d 和 %d", server, upper, lower),
		Look: func(s *Scene) *Miss {
			r, miss := s.realServer(service, server)
			if miss != nil || r.Upper == upper && r.Lower == lower {
				return miss
			}
			return &Miss{
				Saw:  lang.Textf("%s: upper %d, lower %d", "%s：上限 %d，下限 %d", server, r.Upper, r.Lower),
				Want: lang.Textf("-x %d -y %d", "-x %d -y %d", upper, lower),
			}
		},
	}
}

// inState: a service has a connection in a state.
func inState(service, state string) Check {
	return Check{
		What: lang.Textf("%s has a connection in %s", "%s 有处于 %s 状态的连接", service, state),
		Look: func(s *Scene) *Miss {
			all, err := s.connections(false)
			if err != nil {
				return missed(err)
			}
			if slices.ContainsFunc(all, func(c config.Connection) bool { return c.Virtual.String() == service && c.State == state }) {
				return nil
			}
			return &Miss{
				Saw:  lang.Textf("no such connection among %d", "%d 个连接中没有这样的", len(all)),
				Want: lang.Textf("%s; type again to begin the step anew", "%s；输入 again 重新开始本步骤", state),
			}
		},
	}
}

// zeroed: the counters of a service count nothing from before the step.
func zeroed(service string) Check {
	return Check{
		What: lang.Text{EN: "the counters began from zero", ZH: "计数器是从零开始的"},
		Look: func(s *Scene) *Miss {
			v, miss := s.wanted(service)
			if miss != nil {
				return miss
			}
			news, err := s.news(service)
			if err != nil {
				return missed(err)
			}
			if v.Stats.Conns <= uint64(len(news)) {
				return nil
			}
			return &Miss{
				Saw:  lang.Textf("Conns is %d, and %d connections came since the step began", "Conns 为 %d，而本步骤开始以来有 %d 个连接", v.Stats.Conns, len(news)),
				Want: lang.Text{EN: "ipvsadm -Z, then the requests", ZH: "先 ipvsadm -Z，再发请求"},
			}
		},
	}
}

// rated: the rates of a service show connections. A rate shows up to two seconds late, as the
// kernel's do.
func rated(service string) Check {
	return Check{
		What: lang.Text{EN: "the rates show the connections", ZH: "速率中能看到这些连接"},
		Look: func(s *Scene) *Miss {
			for deadline := time.Now().Add(countWithin); ; time.Sleep(50 * time.Millisecond) {
				v, miss := s.wanted(service)
				if miss != nil || v.Stats.CPS > 0 {
					return miss
				}
				if !s.promising(service, 1) || time.Now().After(deadline) {
					return &Miss{
						Saw:  lang.Text{EN: "CPS is 0", ZH: "CPS 为 0"},
						Want: lang.Text{EN: "some: many requests in short time", ZH: "大于 0：在短时间内发出许多请求"},
					}
				}
			}
		},
	}
}

// timeouts: the director has these timeouts, in seconds.
func timeouts(want config.Timeouts) Check {
	return Check{
		What: lang.Textf("the timeouts are %d, %d and %d seconds", "超时为 %d、%d 和 %d 秒", want.TCP, want.TCPFin, want.UDP),
		Look: func(s *Scene) *Miss {
			ctx, cancel := ask()
			defer cancel()
			got, err := s.director("director").Timeouts(ctx)
			if err != nil {
				return missed(err)
			}
			if got == want {
				return nil
			}
			return &Miss{
				Saw:  lang.Textf("%d, %d and %d", "%d、%d 和 %d", got.TCP, got.TCPFin, got.UDP),
				Want: lang.Textf("%d, %d and %d", "%d、%d 和 %d", want.TCP, want.TCPFin, want.UDP),
			}
		},
	}
}

// settle returns what waits until the counters of a service show all its connections, so that
// to set them to zero sets those to zero, too.
func settle(service string) func(*Scene) error {
	return func(s *Scene) error {
		for deadline := time.Now().Add(countWithin); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			v, err := s.service(service)
			if err != nil || v == nil {
				return err
			}
			all, err := s.connections(false)
			if err != nil || v.Stats.Conns >= uint64(len(all)) {
				return err
			}
		}
		return nil
	}
}

// holds returns what has the client open connections to the web service, and hold them.
func holds(n int) func(*Scene) error {
	return func(s *Scene) error {
		for range n {
			if _, err := s.Hold("client", web); err != nil {
				return err
			}
		}
		return nil
	}
}

// first is a check that has to hold before connections count: those that came before it do not
// count in the checks after it.
func first(c Check) Check {
	return Check{What: c.What, Look: func(s *Scene) *Miss {
		miss := c.Look(s)
		if miss != nil {
			_ = s.mark()
		}
		return miss
	}}
}
