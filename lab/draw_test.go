package lab_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/lab"
)

func TestDraw(t *testing.T) {
	for name, want := range map[string]string{
		"nat": `outside
├─ client    eth0  172.16.253.36/16
└─ director  eth0  VIP 172.16.253.63/16
inside
├─ director  eth1  192.168.166.130/24
├─ rs1       eth0  192.168.166.129/24
└─ rs2       eth0  192.168.166.131/24
request  client → director → rs1  to the server's address
answer   rs1 → director → client  from the VIP again
`,
		"dr-gateway": `outside
├─ client    eth0  100.0.0.6/24
└─ gateway   eth0  100.0.0.100/24
inside
├─ gateway   eth1  172.16.253.36/16, 192.168.166.100/24
├─ director  eth0  192.168.166.130/24, VIP 172.16.253.63/16
├─ rs1       eth0  192.168.166.129/24
└─ rs2       eth0  192.168.166.131/24
request  client → gateway → director → rs1  in a frame to the server's MAC address
answer   rs1 → gateway → client  from the VIP
`,
		"tun": `outside
├─ client    eth0  100.0.0.6/24
└─ gateway   eth0  100.0.0.100/24
middle
├─ gateway   eth1  172.16.253.36/16
└─ director  eth0  172.16.253.130/16, VIP 172.16.253.63/32
far
├─ gateway   eth2  192.168.166.100/24
├─ rs1       eth0  192.168.166.129/24
└─ rs2       eth0  192.168.166.131/24
request  client → gateway → director → gateway → rs1  in a tunnel to the server
answer   rs1 → gateway → client  from the VIP
`,
	} {
		topology, err := lab.Build(name, lab.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, topology.Draw()); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
	}
	for _, name := range lab.Names() {
		topology, err := lab.Build(name, lab.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if picture := topology.Draw(); strings.Count(picture, "answer   rs1 → ") != 1 {
			t.Errorf("%s:\n%s", name, picture)
		}
	}
}
