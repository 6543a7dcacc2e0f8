package forwarder

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

// TestWhatClientsShowOfAServer goes through what packets tell about a server.
func TestWhatClientsShowOfAServer(t *testing.T) {
	const nat, dr, full = "10.2.0.1:80", "10.2.0.2:80", "10.2.0.4:80"
	for _, c := range []struct {
		name, vip, steps string // letters, see below
		want             config.Refusals
	}{
		{"a connection that is answered shows nothing", nat, "SyaSya", config.Refusals{}},
		{"a client that repeats its SYN", nat, "Ss", config.Refusals{NoReply: 1}},
		{"counts once, however often it repeats it", nat, "Ssss", config.Refusals{NoReply: 1}},
		{"each client once", dr, "SsSss", config.Refusals{NoReply: 2}},
		{"a SYN that comes twice at once shows nothing", nat, "Sd", config.Refusals{}},
		{"nor does it by direct routing", dr, "Sdd", config.Refusals{}},
		{"it may still be repeated", dr, "Sds", config.Refusals{NoReply: 1}},
		{"unless the server has answered it", nat, "Sys", config.Refusals{}},
		{"so by FULLNAT", full, "Sys", config.Refusals{}},
		{"a reset in answer to a SYN", nat, "Sx", config.Refusals{Resets: 1}},
		{"a reset by a server that had answered is none", nat, "SyaX", config.Refusals{}},
		{"a reset by FULLNAT", full, "Sx", config.Refusals{Resets: 1}},
		{"an ICMP error about the SYN", nat, "Su", config.Refusals{Unreachable: 1}},
		{"counts once, however often it comes", nat, "Suuu", config.Refusals{Unreachable: 1}},
		{"once of each client", nat, "SuuSu", config.Refusals{Unreachable: 2}},
		{"not when the server has answered", nat, "SyuSyau", config.Refusals{}},
		{"a connection that fails in three ways counts once", nat, "Susx", config.Refusals{Unreachable: 1}},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newTestbed(t, byAllMethods)
			b.fw.locals = b.onlyLocalPort(t)
			port, client := 0, ""
			for _, what := range c.steps {
				back := client
				if c.vip == full {
					back = "10.1.200.1:20000"
				}
				switch what {
				case 'S': // a SYN of another client
					port++
					client = fmt.Sprintf("172.16.0.9:%d", 1000+port)
					b.send(1, at(t, 1, client, c.vip, syn, 999, 0, ""))
				case 's', 'd': // the same once more, after a second or at once
					if what == 's' {
						b.pass(time.Second)
					}
					b.send(1, at(t, 1, client, c.vip, syn, 999, 0, ""))
				case 'y':
					b.send(2, at(t, 2, "10.1.0.1:80", back, syn|ack, 5000, 1000, ""))
				case 'a':
					b.send(1, at(t, 1, client, c.vip, ack, 1000, 5001, ""))
				case 'x':
					b.send(2, at(t, 2, "10.1.0.1:80", back, rst|ack, 0, 1000, ""))
				case 'X':
					b.send(2, at(t, 2, "10.1.0.1:80", back, rst|ack, 5001, 1000, ""))
				case 'u':
					b.send(2, unreachable(t, 2, "10.1.0.1", "172.16.0.9", seg(t, 1, client, "10.1.0.1:80", frame.FlagSYN, "")[14:]))
				}
			}
			k, _ := config.ParseKey("tcp:" + c.vip)
			v, err := b.fw.State(k)
			if err != nil {
				t.Fatal(err)
			}
			if got := v.Servers[0].Refusals; got != c.want {
				t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
			}
		})
	}
}

// onlyLocalPort returns local ports of which there is one.
func (b *testbed) onlyLocalPort(t *testing.T) *conntrack.Ports {
	t.Helper()
	ports, err := conntrack.NewPorts(b.fw.conns, 20000, 20000)
	mustDo(t, err)
	return ports
}
