package lab_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"uvs/lab"
	"uvs/lab/labtest"
)

// holds runs the lab's checks, and fails the test for each that does not hold.
func holds(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, c := range l.Topology.Promises() {
		c.Within = patience
		if r := c.Run(context.Background(), l); !r.OK {
			t.Error(r.Err())
		}
	}
}

func TestEveryBuiltInKeepsItsPromises(t *testing.T) {
	for _, name := range lab.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			options := []lab.Options{{}}
			if slices.Contains([]string{"nat", "dr", "tun", "fullnat", "mixed"}, name) {
				options = append(options, lab.Options{RealServers: 3, VIPElsewhere: true, MTU: 1400})
			}
			for _, o := range options {
				l := labtest.Start(t, labtest.Build(t, name, o))
				before := configuration(t, l)
				holds(t, l)
				if after := configuration(t, l); after != before {
					t.Errorf("checks changed the lab from\n%s\nto\n%s", before, after)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// configuration is what of a lab its checks could change.
func configuration(t *testing.T, l *lab.Lab) string {
	t.Helper()
	text := labtest.Exec(t, l, "director", "ipvsadm", "-Sn")
	for _, n := range l.Topology.Nodes {
		look, err := l.Look(n.Name)
		if err != nil {
			t.Fatal(err)
		}
		for _, link := range look.Links {
			text += strings.Join([]string{n.Name, link.Name, link.MAC}, " ")
			for _, p := range link.Addresses {
				text += " " + p.String()
			}
			text += "\n"
		}
	}
	return text
}

func TestABareLabKeepsItsPromisesOnceTheCommandsAreTyped(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "dr", lab.Options{Bare: true}))
	labtest.NeedIP(t)
	failed := func() (names []string) {
		for _, c := range l.Topology.Promises() {
			c.Within = time.Second
			if r := c.Run(context.Background(), l); !r.OK {
				names = append(names, r.Check.Name)
			}
		}
		return names
	}
	if names := failed(); !slices.Contains(names, "client-is-served") || !slices.Contains(names, "vip-on-servers") {
		t.Errorf("before, these fail: %q", names)
	}
	for _, n := range l.Topology.Nodes {
		for _, c := range n.Setup {
			labtest.Exec(t, l, n.Name, c...)
		}
	}
	holds(t, l)
}

func TestTwoDirectorsKeepTheirPromises(t *testing.T) {
	topology := labtest.Build(t, "ha", lab.Options{})
	if err := topology.HowToGetKeepalived(); err != nil {
		labtest.Skip(t, err.Error())
	}
	holds(t, labtest.Start(t, topology))
}

func TestKindsOfChecks(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{}))
	vip := l.Topology.VIP.String()
	for name, tt := range map[string]struct {
		check lab.Check
		says  string // of a check that does not hold; empty: it holds
	}{
		"pages are any of those expected":          {lab.Check{Kind: "get", Expect: []string{"Web1", "Web2"}}, ""},
		"a page is another one":                    {lab.Check{Kind: "get", Expect: []string{"Web3"}}, "Web"},
		"a page has a size":                        {lab.Check{Kind: "get", Get: vip + "/bytes/100000", Size: 100000}, ""},
		"a page has another size":                  {lab.Check{Kind: "get", Get: vip + "/bytes/10", Size: 11}, "10 bytes"},
		"nobody listens":                           {lab.Check{Kind: "get", Get: vip + ":81"}, "refused"},
		"the same server each time it is not":      {lab.Check{Kind: "same"}, "Web1 Web2"},
		"shares are equal":                         {lab.Check{Kind: "shares", Expect: []string{"Web1", "Web2"}, Weights: []int{1, 1}}, ""},
		"shares are not one to three":              {lab.Check{Kind: "shares", Expect: []string{"Web1", "Web2"}, Weights: []int{1, 3}}, "Web1×4 Web2×4"},
		"not in turn":                              {lab.Check{Kind: "alternate", Expect: []string{"Web1", "Web2", "Web3"}}, "Web1"},
		"the source is another":                    {lab.Check{Kind: "source", Expect: []string{"10.9.9.9"}}, "172.16.253.36"},
		"answers do pass the director":             {lab.Check{Kind: "reply", Past: []string{"director"}}, "answers passed director"},
		"answers do not pass a server's neighbour": {lab.Check{Kind: "reply", Expect: []string{"Web1"}, Through: []string{"rs2"}, Times: 2}, "did not pass rs2"},
		"another answers ARP":                      {lab.Check{Kind: "arp", Expect: []string{"rs1"}}, "director answers"},
		"nobody has an address":                    {lab.Check{Kind: "arp", To: "172.16.9.9", Expect: []string{"rs1"}, Within: 100 * time.Millisecond}, "nobody answers"},
		"a service among others":                   {lab.Check{Kind: "ipvsadm", Expect: []string{"-A -t 172.16.253.63:80 -s rr", "-a -t 172.16.253.63:80 -r 192.168.166.129 -m"}}, ""},
		"no other service":                         {lab.Check{Kind: "ipvsadm", Only: true, Expect: []string{"-A -t 172.16.253.63:80 -s rr", "-a -t 172.16.253.63:80 -r 192.168.166.129 -m"}}, "-d -t 172.16.253.63:80 -r 192.168.166.131:80"},
		"another scheduler":                        {lab.Check{Kind: "ipvsadm", Expect: []string{"-A -t 172.16.253.63:80 -s wlc"}}, "-E -t 172.16.253.63:80 -s wlc"},
		"no such connection":                       {lab.Check{Kind: "connections", Expect: []string{"UDP 10.9.9.9"}}, "has no connection with UDP 10.9.9.9"},
		"a node answers an echo request":           {lab.Check{Kind: "ping", From: "director", To: "rs1", Size: 1472}, ""},
		"nobody answers an echo request":           {lab.Check{Kind: "ping", To: "172.16.9.9", Within: 100 * time.Millisecond}, "no answer from 172.16.9.9"},
		"a parameter is as expected":               {lab.Check{Kind: "sysctl", On: []string{"director"}, Expect: []string{"net.ipv4.ip_forward=1"}}, ""},
		"a parameter is another":                   {lab.Check{Kind: "sysctl", On: []string{"rs1", "rs2"}, Expect: []string{"net.ipv4.ip_forward=1"}}, "rs2: net.ipv4.ip_forward=0"},
		"an address on any interface":              {lab.Check{Kind: "address", On: []string{"rs1"}, Expect: []string{"192.168.166.129/24"}}, ""},
		"an address on another interface":          {lab.Check{Kind: "address", On: []string{"rs1"}, Expect: []string{"192.168.166.129/24 lo"}}, "rs1 does not have"},
		"another gateway":                          {lab.Check{Kind: "gateway", On: []string{"rs1"}, Expect: []string{"192.168.166.9"}}, "rs1 has the gateway 192.168.166.130"},
		"no gateway":                               {lab.Check{Kind: "gateway", On: []string{"client"}, Expect: []string{"192.168.166.9"}}, "client has no gateway"},
		"another MTU":                              {lab.Check{Kind: "mtu", On: []string{"rs1"}, Size: 1400}, "eth0 of rs1 has the MTU 1500, not 1400"},
		"a command prints what is expected":        {lab.Check{Kind: "command", On: []string{"director"}, Command: lab.Command{"ipvsadm", "-Ln"}, Expect: []string{"172.16.253.63:80 rr"}}, ""},
		"a command prints something else":          {lab.Check{Kind: "command", On: []string{"director"}, Command: lab.Command{"ipvsadm", "-Ln"}, Expect: []string{"wlc"}}, "IP Virtual Server"},
		"one director does not take over":          {lab.Check{Kind: "takeover"}, "one director only"},
		"there is no such kind":                    {lab.Check{Kind: "smell"}, `no kind "smell"`},
		"there is no such node":                    {lab.Check{Kind: "ping", From: "rs9"}, `no node "rs9"`},
		"an expectation is missing":                {lab.Check{Kind: "alternate"}, `needs "expect"`},
	} {
		t.Run(name, func(t *testing.T) {
			if tt.check.Within == 0 {
				tt.check.Within = patience
			}
			r := tt.check.Run(context.Background(), l)
			if r.OK != (tt.says == "") || !strings.Contains(r.Seen.EN, tt.says) {
				t.Errorf("holds: %t; seen: %s; expected: %s", r.OK, r.Seen.EN, r.Expected.EN)
			}
			if !r.Seen.Complete() || !r.Expected.Complete() {
				t.Errorf("it is not told in both languages: %+v, %+v", r.Seen, r.Expected)
			}
		})
	}
}

func TestALabWithAnImpossibleCheckIsRefused(t *testing.T) {
	topology := labtest.Build(t, "nat", lab.Options{})
	topology.Checks = []lab.Check{{Kind: "sysctl", On: []string{"rs9"}, Expect: []string{"a=b"}}}
	if _, err := lab.Start(topology, lab.Config{}); err == nil || !strings.Contains(err.Error(), `check sysctl: there is no node "rs9"`) {
		t.Errorf("%v", err)
	}
}
