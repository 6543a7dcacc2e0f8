package learn

import (
	"fmt"
	"time"

	"uvs/internal/lang"
)

// directors are the two of a pair.
var directors = []string{"director", "standby"}

// holderOfVIP answers which of the two directors has the VIP.
func holderOfVIP(s *Scene) (string, error) {
	for _, node := range directors {
		all, err := s.addresses(node)
		if err != nil {
			return "", err
		}
		for _, prefixes := range all {
			for _, p := range prefixes {
				if p.Addr().String() == vip {
					return node, nil
				}
			}
		}
	}
	return "", fmt.Errorf("neither of the two has %s", vip)
}

// takeOverWithin is how long a take-over may take on a busy machine; mostly it is a third of
// a second.
const takeOverWithin = 10 * time.Second

// serves: a request gets an answer. It is made by the check itself, and again until a
// take-over is over.
func serves(node, url string) Check {
	return Check{
		What: lang.Textf("%s gets an answer from %s", "%s 能访问 %s", node, url),
		Look: func(s *Scene) *Miss {
			for deadline := time.Now().Add(takeOverWithin); ; time.Sleep(50 * time.Millisecond) {
				_, err := s.Get(node, url)
				if err == nil {
					return nil
				}
				if time.Now().After(deadline) {
					return &Miss{Saw: lang.Textf("%v", "%v", err), Want: lang.Textf("an answer from %s", "来自 %s 的应答", url)}
				}
			}
		},
	}
}

// synchronized: a director knows a connection that the other one carries.
func synchronized(node, service string) Check {
	return Check{
		What: lang.Textf("%s knows the connection", "%s 知道这个连接", node),
		Look: func(s *Scene) *Miss {
			ctx, cancel := ask()
			defer cancel()
			n := 0
			for c, err := range s.director(node).Connections(ctx) {
				if err != nil {
					return missed(err)
				}
				n++
				if !c.Template && c.Virtual.String() == service && c.State == "ESTABLISHED" {
					return nil
				}
			}
			return &Miss{
				Saw:  lang.Textf("%d connections on %s, none ESTABLISHED", "%[2]s 上有 %[1]d 个连接，没有 ESTABLISHED 的", n, node),
				Want: lang.Text{EN: "it in ipvsadm -Lnc there", ZH: "在那里的 ipvsadm -Lnc 中看到它"},
			}
		},
	}
}

// survives: the connection that the step holds is still answered.
func survives() Check {
	return Check{
		What: lang.Text{EN: "the client's connection goes on", ZH: "客户端原有的连接仍然可用"},
		Look: func(s *Scene) *Miss {
			if len(s.held) == 0 {
				return &Miss{Saw: lang.Text{EN: "no connection is held", ZH: "没有保持的连接"}, Want: lang.Text{EN: "one: type again", ZH: "一个连接：请输入 again"}}
			}
			if err := page(s.held[0]); err != nil {
				return &Miss{
					Saw:  lang.Textf("%v", "%v", err),
					Want: lang.Text{EN: "an answer over the connection that was open before", ZH: "通过之前打开的连接得到应答"},
				}
			}
			return nil
		},
	}
}
