package learn

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"uvs/forwarder/config"
	"uvs/internal/explain"
	"uvs/internal/lang"
)

// predict asks which real server the next connection of the client goes to. The answer is
// judged by a real request; then the director's own arithmetic is shown.
func predict(service string) *Question {
	return &Question{
		Text: lang.Text{EN: "Which real server gets the next connection: rs1, rs2 or rs3?", ZH: "下一个连接会交给哪台真实服务器：rs1、rs2 还是 rs3？"},
		Right: func(s *Scene) (string, error) {
			e, err := s.foretell(service)
			if err != nil {
				return "", err
			}
			return s.nodeOf(e.Server), nil
		},
		Judge: func(s *Scene, answer string) *Miss { return s.tryAnswer(service, answer) },
	}
}

// foretell asks the director what it would do with a connection of the client.
func (s *Scene) foretell(service string) (config.Explanation, error) {
	ctx, cancel := ask()
	defer cancel()
	client := s.Lab.Topology.Node("client").Address()
	return s.director("director").Explain(ctx, config.DryPacket{
		Proto: "tcp", Source: netip.AddrPortFrom(client, 40000), Destination: netip.MustParseAddrPort(service), TTL: 64,
	})
}

// nodeOf returns the name of the real server at an address.
func (s *Scene) nodeOf(at netip.AddrPort) string {
	for _, n := range s.Lab.Topology.RealServers() {
		if n.Address() == at.Addr() {
			return n.Name
		}
	}
	return at.String()
}

// tryAnswer makes a request and compares who answered with who was named. Each real server
// says WebN.
func (s *Scene) tryAnswer(service, answer string) *Miss {
	e, err := s.foretell(service)
	if err != nil {
		return missed(err)
	}
	page, err := s.Get("client", "http://"+service+"/")
	if err != nil {
		return missed(err)
	}
	went := "rs" + strings.TrimPrefix(page, "Web")
	if s.named(answer) == went {
		s.note = explain.Arithmetic(e.Trace)
		return nil
	}
	return &Miss{
		Saw:  lang.Textf("you said %s, and the request went to %s\n%s", "你的回答是 %s，而请求到了 %s\n%s", answer, went, explain.Arithmetic(e.Trace)),
		Want: lang.Text{EN: "the next one; now the state is another", ZH: "再预测下一个；现在的状态已经变了"},
	}
}

// named returns the real server that an answer names: by its node, its page or its address.
func (s *Scene) named(answer string) string {
	answer = strings.ToLower(strings.TrimSpace(answer))
	for _, n := range s.Lab.Topology.RealServers() {
		number := strings.TrimPrefix(n.Name, "rs")
		switch answer {
		case n.Name, "web" + number, n.Address().String(), n.Address().String() + ":80":
			return n.Name
		}
	}
	return answer
}

// Active are the connections that are to be active at real servers, by node.
type Active map[string]int

// stageWithin is how long the director may take to see the connections of a stage.
const stageWithin = 10 * time.Second

// stage holds connections of the client, so that each real server has as many active ones as
// named. It shares them out by wrr.
func stage(service string, active Active) func(*Scene) error {
	return func(s *Scene) error {
		if _, err := s.output("director", "ipvsadm", "-E", "-t", service, "-s", "wrr"); err != nil {
			return err
		}
		var surplus []int
		for have := (Active{}); !have.reach(active); {
			node, err := s.holdOne(service)
			if err != nil {
				return err
			}
			if have[node] >= active[node] {
				surplus = append(surplus, len(s.held)-1)
				continue
			}
			have[node]++
		}
		for _, i := range surplus {
			s.held[i].Close()
		}
		return s.awaitActive(service, active)
	}
}

// reach reports whether each server has what is wanted.
func (a Active) reach(want Active) bool {
	for node, n := range want {
		if a[node] < n {
			return false
		}
	}
	return true
}

// holdOne holds one more connection and returns the real server that has it.
func (s *Scene) holdOne(service string) (string, error) {
	own, err := s.Hold("client", service)
	if err != nil {
		return "", err
	}
	all, err := s.connections(false)
	if err != nil {
		return "", err
	}
	for i := range all {
		if all[i].Client == own {
			return s.nodeOf(all[i].Server), nil
		}
	}
	return "", fmt.Errorf("learn: the director has no connection of %v", own)
}

// awaitActive waits until the director counts the connections as they are to be.
func (s *Scene) awaitActive(service string, active Active) error {
	for deadline := time.Now().Add(stageWithin); ; time.Sleep(10 * time.Millisecond) {
		v, err := s.service(service)
		if err != nil || v == nil {
			return err
		}
		now := Active{}
		for i := range v.Servers {
			now[s.nodeOf(v.Servers[i].AddrPort())] = int(v.Servers[i].Active)
		}
		if fmt.Sprint(now) == fmt.Sprint(active) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("learn: active connections %v, wanted %v", now, active)
		}
	}
}
