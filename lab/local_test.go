package lab_test

import (
	"strings"
	"testing"

	"uvs/lab"
	"uvs/lab/labtest"
)

// A real server may be the director itself: by direct routing its own stack gets
// the packets, by lo, and answers the client.
func TestARealServerOnTheDirector(t *testing.T) {
	topology := labtest.Build(t, "dr", lab.Options{})
	d := topology.Node("director")
	d.Setup = nil
	d.Services = append(d.Services, lab.Service{Name: "http", Ready: "tcp:80",
		Command: lab.Command{"uvs", "http", "--text", "Here"}})
	l := labtest.Start(t, topology)
	for _, c := range []string{
		"ipvsadm -A -t 172.16.253.63:80 -s rr",
		"ipvsadm -a -t 172.16.253.63:80 -r 172.16.253.130 -g",
		"ipvsadm -a -t 172.16.253.63:80 -r " + l.Topology.RealServers()[0].Address().String() + " -g",
	} {
		labtest.Exec(t, l, "director", strings.Fields(c)...)
	}
	seen := map[string]int{}
	for range 4 {
		page, err := l.Get("client", "http://172.16.253.63/")
		if err != nil {
			t.Error(err)
		}
		seen[strings.TrimSpace(page)]++
	}
	if seen["Here"] != 2 || seen["Web1"] != 2 {
		t.Errorf("answers came from %v, want the director and rs1 in turn", seen)
		report(t, l)
	}
}
