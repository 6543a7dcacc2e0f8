package topofile_test

import (
	"fmt"
	"strings"
	"testing"

	"uvs/lab"
	"uvs/lab/topofile"
)

// good is a topology in which each mistake below is made by changing one thing.
const good = `name: mine
nodes:
  client: {role: client, eth0: 10.0.0.9/24}
  director: {role: director, eth0: 10.0.0.2/24, vip: 10.0.0.100, ipvsadm: ["-A -t 10.0.0.100:80 -s rr"]}
  rs1: {role: real, mode: dr, eth0: 10.0.0.11/24, http: Web1}
  rs2: {role: real, mode: dr, eth0: 10.0.0.12/24, http: Web2}
links:
  - lan: [client:eth0, director:eth0, rs1:eth0, {to: rs2:eth0, delay: 20ms, loss: 1%}]
`

// A mistake is told with its place and with what is expected there.
func TestAMistakeIsToldWithItsPlaceAndWhatIsExpected(t *testing.T) {
	if _, err := topofile.Parse("my.yaml", []byte(good)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, want string }{
		{"nodes:", "nods:", `my.yaml:2:1: unknown word "nods" in a topology; did you mean "nodes"? Expected one of: name, title,`},
		{"role: client", "rol: client", `my.yaml:3:12: unknown word "rol" in node client; did you mean "role"?`},
		{"role: client", "role: clent", `my.yaml:3:18: client: unknown role "clent"; did you mean "client"? Expected one of: client, director, real, router, host`},
		{"mode: dr", "mode: rd", `my.yaml:5:27: rs1: unknown mode "rd"; expected nat, dr, tun or fullnat`},
		{"10.0.0.9/24", "10.0.0.9", `my.yaml:3:32: client: eth0 "10.0.0.9": expected an address with the length of its network, such as 10.0.0.1/24`},
		{"10.0.0.9/24", "10.0.0.0/24", `my.yaml:3:32: client: 10.0.0.0/24 is the network itself; expected an address that a host can have, such as 10.0.0.1/24`},
		{"10.0.0.12/24", "10.0.0.255/24", `my.yaml:6:37: rs2: 10.0.0.255/24 is the broadcast address of its network; expected an address that a host can have`},
		{"10.0.0.12/24", "10.0.3.255/22", `my.yaml:6:37: rs2: 10.0.3.255/22 is the broadcast address of its network; expected`},
		{"10.0.0.12/24", "127.0.0.1/8", `my.yaml:6:37: rs2: 127.0.0.1/8 is a loopback address; expected an address that a host can have`},
		{"10.0.0.12/24", "224.0.0.1/24", `my.yaml:6:37: rs2: 224.0.0.1/24 is a multicast address; expected an address that a host can have`},
		{"10.0.0.12/24", "0.0.0.0/24", `my.yaml:6:37: rs2: 0.0.0.0/24 is the unspecified address; expected an address that a host can have`},
		{"10.0.0.12/24", "255.255.255.255/32", `my.yaml:6:37: rs2: 255.255.255.255/32 is the broadcast address; expected an address that a host can have`},
		{"10.0.0.12/24", `"ff02::1/64"`, `my.yaml:6:37: rs2: ff02::1/64 is a multicast address; expected an address that a host can have`},
		{"10.0.0.12/24", `"::1/128"`, `my.yaml:6:37: rs2: ::1/128 is a loopback address; expected an address that a host can have`},
		{"10.0.0.12/24", "10.0.0.100/24", `my.yaml:6:37: rs2: 10.0.0.100 is a virtual address already: expected an address of its own`},
		{"vip: 10.0.0.100", "vip: 10.0.0.9", `my.yaml:4:54: director: client has 10.0.0.9 already: expected an address that no other node has`},
		{"vip: 10.0.0.100", "vip: [10.0.0.100, 10.0.0.9]", `my.yaml:4:67: director: client has 10.0.0.9 already: expected an address that no other node has`},
		{"vip: 10.0.0.100", "vip: 224.0.0.1", `my.yaml:4:54: director: vip 224.0.0.1 is a multicast address; expected an address that clients can ask`},
		{"10.0.0.9/24", "10.0.0.11/24", `my.yaml:5:37: rs1: client has 10.0.0.11 already: expected an address of its own`},
		{"vip: 10.0.0.100", "vip: 10.0.0", `my.yaml:4:54: director: vip "10.0.0": expected an address, such as 10.0.0.1`},
		{"-s rr", "-x rr", `my.yaml:4:76: director: ipvsadm "-A -t 10.0.0.100:80 -x rr": `},
		{"-s rr", "-s nosuch", `my.yaml:4:76: director: ipvsadm "-A -t 10.0.0.100:80 -s nosuch": there is no scheduler "nosuch"; there are dh, fo,`},
		{"-s rr", "-s rr -p 5 --pe nosuch", `my.yaml:4:76: director: ipvsadm "-A -t 10.0.0.100:80 -s rr -p 5 --pe nosuch": there is no persistence engine "nosuch"; there is sip`},
		{`-s rr"`, `-s rr", "-a -t 10.0.0.100:80 -r [fd00::1]:80 -m"`, `my.yaml:4:105: director: ipvsadm "-a -t 10.0.0.100:80 -r [fd00::1]:80 -m": Different address family is allowed only for tunneling servers;`},
		{"10.0.0.12/24", `"fd00::12/64"`, `my.yaml:6:37: rs2: fd00::12 is not of the address family of -t 10.0.0.100:80: expected another first address, or mode: tun`},
		{"loss: 1%", "loss: 1e-9%", `my.yaml:8:83: an end of lan: impairment loss=1e-9%: the smallest share is 0.000001%, as in loss=1%`},
		{good, "nodes: [a, b]\nlinks: 5", "my.yaml:1:9: nodes: expected a mapping, with a name for each node, such as  rs1: {role: real, eth0: 10.0.0.11/24}"},
		{"client:eth0", "clint:eth0", `my.yaml:8:11: lan: there is no node "clint"; did you mean "client"? Expected one of: client, director, rs1, rs2`},
		{"client:eth0", "client:eth1", `my.yaml:8:11: lan: node client has no interface "eth1"; expected one of its own, or another line in client, such as  eth1: 10.0.0.1/24`},
		{"client:eth0, ", "", `my.yaml:3:26: eth0 of client is on no network: expected client:eth0 in links`},
		{"client:eth0", "rs1:eth0", `my.yaml:8:36: eth0 of rs1 is on lan already: an interface is on one network`},
		{"delay: 20ms", "delya: 20ms", `my.yaml:8:64: unknown word "delya" in an end of lan; did you mean "delay"? Expected one of: to, delay, jitter,`},
		{"delay: 20ms", "delay: 20", `my.yaml:8:71: an end of lan: impairment delay=20: write a time with its unit, as in delay=20ms`},
		{"loss: 1%", "loss: much", `my.yaml:8:83: an end of lan: impairment loss=much: write a share of the frames in percent, as in loss=1%`},
		{"to: rs2:eth0, ", "", `my.yaml:8:49: an end of lan: expected  to: NODE:eth0`},
		{"rs2: {", "rs1: {", `my.yaml:6:3: rs1 is there twice: first in line 5`},
		{"rs2: {", "RS2: {", `my.yaml:6:3: node name "RS2": expected up to 32 small letters, digits and hyphens`},
		{"- lan:", "- a-very-long-network:", `my.yaml:8:5: network name "a-very-long-network": expected up to 15 small letters, digits and hyphens`},
		{"role: client,", "role: client, gateway: 10.1.0.1,", `my.yaml:3:35: client: gateway 10.1.0.1 is in no network of its interfaces: expected an address that a neighbour has`},
		{"role: client,", "role: client, routes: [10.1.0.0/16 10.0.0.2],", `my.yaml:3:35: client: route "10.1.0.0/16 10.0.0.2": no route; expected it such as  10.1.0.0/16 via 10.0.0.1`},
		{"role: client,", "role: client, forward: maybe,", `my.yaml:3:35: client: forward: expected true or false`},
		{"role: client,", "role: client, vip: 10.0.0.7,", `my.yaml:3:31: client: vip is a word of a director; a real server gets the virtual address by mode: dr or mode: tun`},
		{"role: client,", "role: client, eth2: 10.3.0.1/24,", `my.yaml:3:26: eth2 of client is on no network: expected client:eth2 in links`},
		{"role: client,", "role: client, lo: 10.3.0.1/32,", `my.yaml:3:26: unknown word "lo" in node client: addresses of lo come with mode: dr or mode: tun`},
		{"role: client,", "role: client, services: {web: {ready: tcp:80}},", `my.yaml:3:3: client: service web: expected  run: COMMAND`},
		{"role: client,", "role: client, services: {web: {run: 'uvs http', redy: tcp:80}},", `my.yaml:3:60: unknown word "redy" in client: service web; did you mean "ready"?`},
		{"role: client,", "role: client, setup: ['echo \"'],", `my.yaml:3:34: client: setup: a quote is not closed`},
		{"role: client,", "role: client, mode: nat,", `my.yaml:3:32: client: mode is a word of a real server: expected role: real`},
		{"name: mine", "check: [alternat: {}]", `my.yaml:1:9: unknown check "alternat"; did you mean "alternate"? Expected one of: address,`},
		{"name: mine", "check: [{alternate: {expct: Web1}}]", `my.yaml:1:22: unknown word "expct" in check alternate; did you mean "expect"?`},
		{"name: mine", "check: [{alternate: }]", `my.yaml:1:10: check alternate: alternate needs "expect"`},
		{"name: mine", "check: [{ping: {to: rs1}}, {ping: {to: rs2}}]", `my.yaml:1:29: two checks are called "ping": expected  name:  with another name`},
		{"name: mine", "check: [{ping: {from: rs9}}]", `my.yaml:1:10: check ping: there is no node "rs9"`},
		{"name: mine", "mtu: 100", `my.yaml:1:6: mtu: expected a number from 576 to 65521`},
		{"name: mine", "seed: 0", `my.yaml:1:7: seed: expected a number from 1 to 18446744073709551615`},
		{"name: mine", "seed: 18446744073709551616", `my.yaml:1:7: seed: expected a number from 1 to 18446744073709551615`},
		{"name: mine", "gateway: 10.0.0.1", `my.yaml:1:1: unknown word "gateway" in a topology: it is a word of a node; expected one of: name,`},
		{"name: mine", "\tname: mine", `my.yaml:1:2: `},
		{"eth0: 10.0.0.9/24}", "eth0: 10.0.0.9/24", `my.yaml:`},
		{"links:", "---\nlinks:", `my.yaml:7:1: a second document: expected one topology in a file`},
		{good[strings.Index(good, "links:"):], "", `my.yaml:1:1: there are no links: expected links: with a list of networks, such as  - lan: [client:eth0,`},
		{good, "", `my.yaml:1:1: it is empty: expected nodes and links`},
		{good, "just a word", `my.yaml:1:1: a topology: expected nodes and links`},
	} {
		_, err := topofile.Parse("my.yaml", []byte(strings.Replace(good, c.from, c.to, 1)))
		if err == nil {
			t.Errorf("with %q there is no error, want %s", c.to, c.want)
			continue
		}
		if !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("with %q\ngot  %v\nwant %s", c.to, err, c.want)
		}
	}
}

// All mistakes are told at once, in their order.
func TestMistakesAreToldTogether(t *testing.T) {
	text := strings.NewReplacer("role: client", "rol: client", "10.0.0.12/24", "10.0.0.12", "delay", "dely").Replace(good)
	_, err := topofile.Parse("my.yaml", []byte(text))
	if err == nil {
		t.Fatal("no error")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, want := range []string{"my.yaml:3:12: ", "my.yaml:6:37: ", "my.yaml:8:64: "} {
		if len(lines) != 3 || !strings.HasPrefix(lines[i], want) {
			t.Fatalf("got\n%v\nwant three, of which %d begins %s", err, i, want)
		}
	}
}

// The first node that a lab cannot have is told.
func TestANodeTooManyIsTold(t *testing.T) {
	var text strings.Builder
	text.WriteString("nodes:\n")
	for i := range lab.MaxNodes + 1 {
		fmt.Fprintf(&text, "  n%d:\n", i)
	}
	text.WriteString("links: []\n")
	_, err := topofile.Parse("my.yaml", []byte(text.String()))
	if want := "my.yaml:256:3: n254: a node too many: expected up to 254"; err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}
