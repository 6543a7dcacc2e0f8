package forwarder

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uvs/forwarder/connsync"
	"uvs/forwarder/syncnet"
)

// crafty is somebody who sends entries of his own making to a backup.
type crafty struct {
	*synced
	t    *testing.T
	conn syncnet.Conn
	id   uint8
}

// newCrafty returns him beside a backup of syncid 7.
func newCrafty(t *testing.T, commands string, c SyncConfig) *crafty {
	t.Helper()
	p := &synced{syncSegment: &syncSegment{}}
	p.two = p.director(t, "10.99.0.2", commands, c)
	p.daemon(p.two, "backup")
	conn, err := p.at("10.99.0.66").Sender(syncnet.Group{Addr: netip.MustParseAddrPort("224.0.0.81:8848")})
	mustDo(t, err)
	return &crafty{p, t, conn, 7}
}

// says sends an entry like many, changed.
func (c *crafty) says(change func(*connsync.Entry)) {
	c.t.Helper()
	addr := func(s string) [16]byte { return netip.MustParseAddr(s).As16() }
	e := connsync.Entry{Proto: 6, State: 1, Timeout: 100, ClientPort: 1000, VirtualPort: 80, RealPort: 80,
		Client: addr("172.16.0.9"), Virtual: addr("10.2.0.1"), Real: addr("10.1.0.1")}
	if change != nil {
		change(&e)
	}
	w := connsync.Writer{Version: 1, SyncID: c.id, MaxLen: 1472}
	w.Add(e.Append(nil, 1))
	c.datagram(w.Datagram())
}

func (c *crafty) datagram(b []byte) {
	_, err := c.conn.Write(b)
	mustDo(c.t, err)
	synctest.Wait()
}

// list returns connections with when they end, and the server's counts.
func (c *crafty) list() string {
	var all []string
	for _, x := range c.two.fw.Connections() {
		all = append(all, fmt.Sprintf("%v>%v %v %s %ds", x.Client, x.Server, x.Method, x.State, (x.Expires+999)/1000))
	}
	return strings.Join(all, "; ")
}

func (c *crafty) counts() string {
	for _, v := range c.two.fw.Services() {
		for _, s := range v.Servers {
			return fmt.Sprintf("%d active, %d inactive", s.Active, s.Inactive)
		}
	}
	return "no server"
}

const oneByNAT = `-A -t 10.2.0.1:80 -s rr
-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m
-a -t 10.2.0.1:80 -r 10.1.0.2:80 -m
`

// What Linux 6.1 made of such entries was found out with a real one.
func TestABackupKeepsWhatTheKernelKeeps(t *testing.T) {
	const inactive, template = connsync.Inactive, connsync.Template
	for _, c := range []struct {
		name         string
		do           func(*crafty)
		list, counts string
	}{
		{"a connection", func(c *crafty) { c.says(nil) },
			"172.16.0.9:1000>10.1.0.1:80 Masq ESTABLISHED 100s", "1 active, 0 inactive"},
		{"an inactive one", func(c *crafty) { c.says(func(e *connsync.Entry) { e.Flags, e.State, e.Timeout = inactive, 7, 60 }) },
			"172.16.0.9:1000>10.1.0.1:80 Masq CLOSE_WAIT 60s", "0 active, 1 inactive"},
		{"a timeout of its state, if none is said", func(c *crafty) { c.says(func(e *connsync.Entry) { e.Timeout = 0 }) },
			"172.16.0.9:1000>10.1.0.1:80 Masq ESTABLISHED 900s", "1 active, 0 inactive"},
		{"the method of its own server", func(c *crafty) { c.says(func(e *connsync.Entry) { e.Flags = 3 }) },
			"172.16.0.9:1000>10.1.0.1:80 Masq ESTABLISHED 100s", "1 active, 0 inactive"},
		{"the method said, of a server it has not", func(c *crafty) {
			c.says(func(e *connsync.Entry) { e.Flags, e.Real = 3, netip.MustParseAddr("10.1.0.78").As16() })
		}, "172.16.0.9:1000>10.1.0.78:80 Route ESTABLISHED 100s", "0 active, 0 inactive"},
		{"a template", func(c *crafty) {
			c.says(func(e *connsync.Entry) { e.Flags, e.ClientPort, e.State, e.Timeout = template, 0, 1, 300 })
		},
			"172.16.0.9:0>10.1.0.1:80 Masq ASSURED 300s", "0 active, 0 inactive"},
		{"a template without a timeout", func(c *crafty) {
			c.says(func(e *connsync.Entry) { e.Flags, e.ClientPort, e.State, e.Timeout = template, 0, 0, 0 })
		},
			"172.16.0.9:0>10.1.0.1:80 Masq NONE 180s", "0 active, 0 inactive"},
		{"a timeout as long as it pleases", func(c *crafty) { c.says(func(e *connsync.Entry) { e.Timeout = 1_000_000 }) },
			"172.16.0.9:1000>10.1.0.1:80 Masq ESTABLISHED 1000000s", "1 active, 0 inactive"},
		{"an update of state, timeout and activity", func(c *crafty) {
			c.says(nil)
			c.says(func(e *connsync.Entry) { e.Flags, e.State, e.Timeout = inactive, 8, 7 })
		}, "172.16.0.9:1000>10.1.0.1:80 Masq LAST_ACK 7s", "0 active, 1 inactive"},
		{"an update that makes it active again", func(c *crafty) {
			c.says(func(e *connsync.Entry) { e.Flags, e.State = inactive, 8 })
			c.says(nil)
		}, "172.16.0.9:1000>10.1.0.1:80 Masq ESTABLISHED 100s", "1 active, 0 inactive"},
		{"one that has moved to another server", func(c *crafty) {
			c.says(nil)
			c.says(func(e *connsync.Entry) { e.Real = netip.MustParseAddr("10.1.0.2").As16() })
		}, "172.16.0.9:1000>10.1.0.2:80 Masq ESTABLISHED 100s", "0 active, 0 inactive"},
		{"not the late end of one that has moved", func(c *crafty) {
			c.says(nil)
			c.says(func(e *connsync.Entry) { e.Flags, e.Real = inactive, netip.MustParseAddr("10.1.0.2").As16() })
		}, "172.16.0.9:1000>10.1.0.1:80 Masq ESTABLISHED 100s", "1 active, 0 inactive"},
		{"nothing of another id", func(c *crafty) { c.id = 8; c.says(nil) }, "", "0 active, 0 inactive"},
		{"one of a server that is added later is the server's with the next message", func(c *crafty) {
			unknown := func(e *connsync.Entry) { e.VirtualPort = 90 }
			c.says(unknown)
			c.two.apply("-A -t 10.2.0.1:90 -s rr\n-a -t 10.2.0.1:90 -r 10.1.0.1:80 -m\n-D -t 10.2.0.1:80")
			if got := c.counts(); got != "0 active, 0 inactive" {
				c.t.Errorf("before the message: %s", got)
			}
			c.says(unknown)
		}, "172.16.0.9:1000>10.1.0.1:80 Masq ESTABLISHED 100s", "1 active, 0 inactive"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newCrafty(t, oneByNAT, SyncConfig{})
				c.do(x)
				if got := x.list(); got != c.list {
					t.Errorf("the list is\n%s\nnot\n%s", got, c.list)
				}
				if got := x.counts(); got != c.counts {
					t.Errorf("the first server has %s, want %s", got, c.counts)
				}
			})
		})
	}
}

// What it took from another director ends like any other, and leaves nothing.
func TestCopiesExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrafty(t, oneByNAT, SyncConfig{})
		c.says(nil)
		c.says(func(e *connsync.Entry) { e.Flags, e.ClientPort = connsync.Template, 0 })
		c.two.pass(101 * time.Second)
		if got := c.list(); got != "" || c.counts() != "0 active, 0 inactive" {
			t.Errorf("%s; %s", got, c.counts())
		}
	})
}

func TestWhatABackupRefusesIsCountedByName(t *testing.T) {
	real := func(s string) func(*connsync.Entry) {
		return func(e *connsync.Entry) { e.Real = netip.MustParseAddr(s).As16() }
	}
	v6 := func(e *connsync.Entry) { e.V6 = true }
	six := func(a *[16]byte) { *a = netip.MustParseAddr("fd00::1").As16() }
	key := []byte("0123456789abcdef")
	fullnat := "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 --fullnat\n"
	local := func(port, client uint16) func(*connsync.Entry) {
		return func(e *connsync.Entry) {
			e.ClientPort, e.LocalPort, e.Local = client, port, netip.MustParseAddr("10.1.200.1").As16()
		}
	}
	for _, c := range []struct {
		refused connsync.Refusal
		rules   string
		conf    SyncConfig
		do      func(*crafty)
	}{
		{connsync.NoServer, oneByNAT, SyncConfig{Trust: TrustServers}, func(c *crafty) { c.says(real("10.1.0.78")) }},
		{connsync.NoServer, oneByNAT, SyncConfig{}, func(c *crafty) {
			c.says(func(e *connsync.Entry) { real("10.1.0.78")(e); e.HasNumbers, e.Numbers.SeqOffset = true, 7 })
		}},
		{connsync.Source, oneByNAT, SyncConfig{Sources: []netip.Prefix{netip.MustParsePrefix("10.99.0.1/32")}}, func(c *crafty) { c.says(nil) }},
		{connsync.Unsigned, oneByNAT, SyncConfig{Key: key}, func(c *crafty) { c.says(nil) }},
		{connsync.Family, oneByNAT, SyncConfig{}, func(c *crafty) { c.says(v6) }},
		{connsync.Method, oneByNAT, SyncConfig{}, func(c *crafty) { c.says(func(e *connsync.Entry) { e.Flags = 5 }) }},
		{connsync.PE, oneByNAT, SyncConfig{}, func(c *crafty) {
			c.says(func(e *connsync.Entry) { e.Flags, e.PEName, e.PEData = connsync.Template, "other", "x" })
		}},
		{connsync.State, oneByNAT, SyncConfig{}, func(c *crafty) { c.says(func(e *connsync.Entry) { e.State = 11 }) }},
		{connsync.NoLocal, fullnat, SyncConfig{}, func(c *crafty) { c.says(nil) }},
		{connsync.NoLocal, fullnat, SyncConfig{Trust: TrustServers}, func(c *crafty) { c.says(local(6000, 1000)) }},
		{connsync.Family, oneByNAT, SyncConfig{}, func(c *crafty) {
			c.says(func(e *connsync.Entry) { v6(e); six(&e.Client); six(&e.Real) })
		}},
		{connsync.Family, fullnat, SyncConfig{}, func(c *crafty) {
			c.says(func(e *connsync.Entry) { local(6000, 1000)(e); v6(e); six(&e.Client); six(&e.Real); six(&e.Virtual) })
		}},
		{connsync.Size, oneByNAT, SyncConfig{}, func(c *crafty) { c.datagram([]byte{1, 7, 0, 99}) }},
		{connsync.OtherID, oneByNAT, SyncConfig{}, func(c *crafty) { c.id = 9; c.says(nil) }},
		{connsync.LocalTaken, fullnat, SyncConfig{}, func(c *crafty) {
			c.two.apply("--add-laddr -t 10.2.0.1:80 --laddr 10.1.200.1")
			c.two.open("172.16.0.9:7", "10.2.0.1:80")
			c.says(local(c.two.fw.Connections()[0].Local.Port(), 1000))
		}},
	} {
		t.Run(c.refused.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newCrafty(t, c.rules, c.conf)
				before := x.two.fw.conns.Len()
				c.do(x)
				for r := connsync.Taken + 1; r < connsync.Refusals; r++ {
					want := uint64(0)
					if r == c.refused {
						want = 1
					}
					if got := x.two.fw.Counters()["sync-refused-"+r.String()]; got != want {
						t.Errorf("sync-refused-%s is %d, want %d", r, got, want)
					}
				}
				if n := x.two.fw.conns.Len() - before; n > 0 && c.refused != connsync.LocalTaken || n > 1 {
					t.Errorf("%d connections: %s", n, x.list())
				}
			})
		})
	}
}

// A master gives the local port of a connection that is over to another.
func TestALocalPortFollowsItsMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrafty(t, "-A -t 10.2.0.1:80 -s rr\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 --fullnat\n", SyncConfig{})
		for _, client := range []uint16{1000, 2000} {
			c.says(func(e *connsync.Entry) {
				e.ClientPort, e.LocalPort, e.Local = client, 6000, netip.MustParseAddr("10.1.200.1").As16()
			})
		}
		if got := c.list(); got != "172.16.0.9:2000>10.1.0.1:80 FullNat ESTABLISHED 100s" {
			t.Errorf("list %s", got)
		}
		c.two.expectCounts("one port is in use", map[string]uint64{"local-ports-live": 1})
	})
}

// One that has had packets here is not over because another director gave its port away.
func TestALocalPortInUseIsNotGivenAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrafty(t, "-A -t 10.2.0.1:80 -s rr\n--add-laddr -t 10.2.0.1:80 --laddr 10.1.200.1\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 --fullnat\n", SyncConfig{})
		local := func(client uint16) {
			c.says(func(e *connsync.Entry) {
				e.ClientPort, e.LocalPort, e.Local = client, 6000, netip.MustParseAddr("10.1.200.1").As16()
			})
		}
		local(1000)
		c.two.send(1, at(t, 1, "172.16.0.9:1000", "10.2.0.1:80", ack, 1, 1, "x"))
		local(2000)
		if got := c.list(); !strings.HasPrefix(got, "172.16.0.9:1000>10.1.0.1:80") || strings.Contains(got, ":2000") {
			t.Errorf("list %s", got)
		}
		c.two.expectCounts("the other is refused", map[string]uint64{"sync-refused-local-taken": 1})
	})
}

func TestTrustInServersBoundsTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrafty(t, oneByNAT, SyncConfig{Trust: TrustServers})
		c.says(func(e *connsync.Entry) { e.Timeout = 4_000_000_000 })
		if got := c.list(); got != "172.16.0.9:1000>10.1.0.1:80 Masq ESTABLISHED 1800s" {
			t.Errorf("list %s", got)
		}
	})
}

// A template may live as long as its service here says, however often it is told of.
func TestTrustInServersLeavesTemplatesTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrafty(t, "-A -t 10.2.0.1:80 -s rr -p 3600\n-a -t 10.2.0.1:80 -r 10.1.0.1:80 -m\n", SyncConfig{Trust: TrustServers})
		for i := range 3 {
			c.says(func(e *connsync.Entry) { e.Flags, e.ClientPort, e.State, e.Timeout = connsync.Template, 0, 1, 3600 })
			if got := c.list(); got != "172.16.0.9:0>10.1.0.1:80 Masq ASSURED 3600s" {
				t.Errorf("after message %d: list %s", i+1, got)
			}
		}
	})
}

// A connection whose server no service has is served as in IPVS.
func TestUnboundConnectionsAreForwarded(t *testing.T) {
	for method, want := range map[uint32]string{
		0: "server 02:00:00:01:00:4e 172.16.0.9>10.1.0.78 tcp 1000>80",
		3: "server 02:00:00:01:00:4e 172.16.0.9>10.2.0.1 tcp 1000>80",
	} {
		synctest.Test(t, func(t *testing.T) {
			c := newCrafty(t, oneByNAT, SyncConfig{})
			c.says(func(e *connsync.Entry) { e.Flags, e.Real = method, netip.MustParseAddr("10.1.0.78").As16() })
			out := c.two.words(c.two.send(1, at(t, 1, "172.16.0.9:1000", "10.2.0.1:80", ack, 1, 1, "x")))
			if len(out) != 1 || !strings.HasPrefix(out[0], want) {
				t.Errorf("method %d: %q, want %s", method, out, want)
			}
		})
	}
}
