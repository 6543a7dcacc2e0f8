package ipvsadm

import (
	"bytes"
	"context"
	"iter"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"uvs/forwarder/config"
	"uvs/sched"
)

// shown is a director with the contents of a listing.
type shown struct {
	Director
	services    []config.ServiceState
	connections []config.Connection
}

func (d *shown) Services(context.Context) ([]config.ServiceState, error) { return d.services, nil }

func (d *shown) Service(_ context.Context, k config.Key) (config.ServiceState, error) {
	for _, v := range d.services {
		if v.Key == k {
			return v, nil
		}
	}
	return config.ServiceState{}, config.ErrNoSuchService
}

func (d *shown) Connections(context.Context) iter.Seq2[config.Connection, error] {
	return func(yield func(config.Connection, error) bool) {
		for _, c := range d.connections {
			if !yield(c, nil) {
				return
			}
		}
	}
}

func (d *shown) Timeouts(context.Context) (config.Timeouts, error) {
	return config.Timeouts{TCP: 900, TCPFin: 120, UDP: 300}, nil
}

func (d *shown) Daemons(context.Context) ([]config.Daemon, error) { return nil, nil }

func (d *shown) list(words ...string) string {
	var out bytes.Buffer
	tool := Tool{Program: "ipvsadm", Director: d, Names: recordedNames, Stdout: &out, Stderr: &out}
	tool.Run(context.Background(), words)
	return out.String()
}

// section is a command of a recording with its output.
type section struct{ title, output string }

// sections reads a recording whose titles begin with "# ".
func sections(t *testing.T, file string) (all []section) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if title, ok := strings.CutPrefix(line, "# "); ok {
			all = append(all, section{title: strings.TrimSuffix(title, "\n")})
			continue
		}
		all[len(all)-1].output += line
	}
	return all
}

func service(proto config.Proto, addrPort, scheduler string) config.ServiceState {
	a := netip.MustParseAddrPort(addrPort)
	key := config.Key{Proto: proto, Addr: a.Addr(), Port: a.Port()}.Normal()
	return config.ServiceState{Service: config.Service{Key: key, Scheduler: scheduler}}
}

func server(addrPort string, m sched.Method, weight int32, upper, lower uint32) config.ServerState {
	a := netip.MustParseAddrPort(addrPort)
	return config.ServerState{Server: config.Server{
		Addr: a.Addr(), Port: a.Port(), Method: m, Weight: weight, Upper: upper, Lower: lower,
	}}
}

// layoutServices are those of layout.txt, in the order of addition.
func layoutServices() []config.ServiceState {
	tcp := service(config.TCP, "10.0.0.1:80", "wlc")
	tcp.Servers = []config.ServerState{server("10.1.0.1:80", sched.Masq, 1, 0, 0)}
	tcp6 := service(config.TCP, "[fd00:1111:2222:3333:4444:5555:6666:7777]:65535", "rr")
	tcp6.Servers = []config.ServerState{server("[fd00:aaaa:bbbb:cccc:dddd:eeee:ffff:1234]:65535", sched.Route, 65535, 4000000, 3000000)}
	mark := config.ServiceState{Service: config.Service{
		Key: config.Key{Mark: 4294967295}.Normal(), Scheduler: "mh", Flags: sched.Fallback | sched.Port,
		Persistent: 86400, Netmask: "255.255.255.0",
	}}
	udp := service(config.UDP, "10.0.0.1:53", "rr")
	udp.OnePacket = true
	udp.Servers = []config.ServerState{server("10.1.0.1:53", sched.Tunnel, 0, 10, 5)}
	return []config.ServiceState{tcp, tcp6, mark, udp}
}

// Recorded from ipvsadm 1.31, with all counters in the kernel's answer set to
// the same number.
func TestLayout(t *testing.T) {
	for _, s := range sections(t, "testdata/layout.txt") {
		t.Run(s.title, func(t *testing.T) {
			d := &shown{services: layoutServices()}
			words := strings.TrimPrefix(s.title, "ipvsadm ")
			if number, rest, ok := strings.Cut(words, ": ipvsadm "); ok {
				n, err := strconv.ParseUint(strings.TrimPrefix(number, "all counters = "), 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				all := config.Stats{Conns: n, InPkts: n, OutPkts: n, InBytes: n, OutBytes: n, CPS: n, InPPS: n, OutPPS: n, InBPS: n, OutBPS: n}
				d.services[0].Stats, d.services[0].Servers[0].Stats = all, all
				words = rest
			}
			check(t, "output", s.output, d.list(strings.Fields(words)...))
		})
	}
}
