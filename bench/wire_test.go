package bench

import (
	"strings"
	"testing"
	"time"

	"uvs/bench/load"
	"uvs/lab"
	"uvs/lab/wire"
)

func TestLinksAreImpairedOnlyWhereARunIsTold(t *testing.T) {
	lanes, _ := planLanes(&Options{Targets: []load.Target{{Method: load.NAT}, {Method: load.DR}}})
	cluster := cluster{target: load.Target{Method: load.NAT}, servers: 2}
	for _, topology := range []func() lab.Topology{func() lab.Topology { return topology(lanes) }, cluster.topology} {
		plain := (&Options{}).impaired(topology())
		o := Options{Wire: wire.Impairment{Delay: time.Millisecond}}
		told := o.impaired(topology())
		if plain.Wires || !told.Wires || !told.ByName {
			t.Errorf("wires %v if it is not told, %v if it is", plain.Wires, told.Wires)
		}
		for n := range told.Nodes {
			for i, iface := range told.Nodes[n].Interfaces {
				if got := plain.Nodes[n].Interfaces[i].Impair; got != (wire.Impairment{}) {
					t.Errorf("%s is impaired: %v", plain.Nodes[n].Name, got)
				}
				if is := iface.Impair == o.Wire; is != (told.Nodes[n].Name == load.ClientNode) {
					t.Errorf("%s is told to be %v", told.Nodes[n].Name, iface.Impair)
				}
			}
		}
		r := Report{}
		r.Parts = append(r.Parts, o.setting("quick"))
		if got := r.Wires(); got != "quick over a wire (delay=1ms)" {
			t.Errorf("the report says %q", got)
		}
		var text strings.Builder
		if err := r.Print(&text); err != nil || !strings.Contains(text.String(), "; over a wire at the client: delay=1ms") {
			t.Errorf("%v, it prints\n%s", err, &text)
		}
	}
}
