package forwarder

import (
	"strings"
	"testing"

	"uvs/forwarder/frame"
)

// TestASilentServerIsProbed goes through what is seen of a server between two samples.
func TestASilentServerIsProbed(t *testing.T) {
	const nat, dr, tun, full = "10.2.0.1:80", "10.2.0.2:80", "10.2.0.3:80", "10.2.0.4:80"
	for _, c := range []struct {
		name, vip string
		steps     []string // letters: S a SYN of a client, each of another; s the same once more; r a reply; nothing
		want      string   // d: probed at the sample after the step, -: not
	}{
		{"requests by NAT without a reply", nat, []string{"S", "S", "S"}, "-dd"},
		{"with replies", nat, []string{"Sr", "Sr", "Sr"}, "---"},
		{"without one at last", nat, []string{"Sr", "S", "S", "Sr", "S"}, "--d--"},
		{"a step without traffic tells nothing", nat, []string{"S", "", "", "S"}, "---d"},
		{"a client that repeats its SYN", nat, []string{"S", "s", ""}, "-d-"},
		{"requests by FULLNAT without a reply", full, []string{"S", "S"}, "-d"},
		{"by direct routing replies are not seen", dr, []string{"S", "S", "S"}, "---"},
		{"but a client that repeats its SYN is", dr, []string{"S", "s", ""}, "-d-"},
		{"by a tunnel likewise", tun, []string{"S", "S", "s", ""}, "--d-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newTestbed(t, byAllMethods)
			got := ""
			port := 0
			for _, step := range c.steps {
				for _, what := range step {
					if what == 'S' {
						port++
					}
					client := "172.16.0.9:" + string(rune('1'+port)) + "000"
					if what == 'r' {
						b.send(2, seg(t, 2, "10.1.0.1:80", client, frame.FlagSYN|frame.FlagACK, ""))
						continue
					}
					b.send(1, seg(t, 1, client, c.vip, frame.FlagSYN, ""))
				}
				b.net.probed = nil
				b.fw.probeSilent()
				switch strings.Join(b.net.probed, " ") {
				case "10.1.0.1":
					got += "d"
				case "":
					got += "-"
				default:
					got += "?"
				}
			}
			if got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}
