package lab_test

import (
	"testing"

	"uvs/lab"
	"uvs/lab/labtest"
)

// TestTheHostsStackKeepsOut turns ip_forward on, as the tutorial does, with and without the VIP
// on the director's interface: the host's stack would then answer or forward the director's
// packets.
func TestTheHostsStackKeepsOut(t *testing.T) {
	for _, topology := range []string{"nat", "dr", "tun", "fullnat", "dr-gateway", "nat6", "dr6", "tun6", "fullnat6"} {
		for name, elsewhere := range map[string]bool{"VIP on an interface": false, "VIP on none": true} {
			t.Run(topology+"/"+name, func(t *testing.T) {
				l := labtest.Start(t, labtest.Build(t, topology, lab.Options{VIPElsewhere: elsewhere}))
				addUDP(t, l)
				labtest.Exec(t, l, "director", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
				turns(t, l)
				queries(t, l)
				largeDatagrams(t, l)
				resets(t, l)
			})
		}
	}
}

// resets expects that no connection of many was reset: a reset by the host
// races with the director's answer and does not always win.
func resets(t *testing.T, l *lab.Lab) {
	t.Helper()
	for i := range 100 {
		if _, err := l.Get("client", url(l, "/bytes/20000")); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
}

// TestFullNATByTheDirectorsOwnAddress takes the DIP as local address, as the
// tutorial draws it: the host's stack sees every answer of a real server.
func TestFullNATByTheDirectorsOwnAddress(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "fullnat", lab.Options{Bare: true}))
	const dip = "192.168.166.130"
	for _, c := range l.Topology.Node("director").Setup {
		words := append([]string{}, c...)
		if words[1] == "--add-laddr" {
			words[len(words)-1] = dip
		}
		labtest.Exec(t, l, "director", words...)
	}
	labtest.Exec(t, l, "director", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
	turns(t, l)
	resets(t, l)
}
