package lab_test

import (
	"fmt"
	"strings"
	"testing"

	"uvs/lab"
	"uvs/lab/labtest"
)

// A firewall mark makes one service of two ports, so that persistence keeps a
// client of both on one server: the classic use, HTTP with HTTPS.
func TestAMarkJoinsTwoPorts(t *testing.T) {
	topology := labtest.Build(t, "nat", lab.Options{})
	topology.Node("director").Setup = nil
	for _, rs := range topology.RealServers() {
		rs.Services = append(rs.Services, second(rs))
	}
	l := labtest.Start(t, topology)
	for _, c := range []string{
		"uvs mark -A -d 172.16.253.63 -p tcp --dport 80 --set-mark 1",
		"uvs mark -A -d 172.16.253.63 -p tcp --dport 443 --set-mark 1",
		"ipvsadm -A -f 1 -s rr",
		"ipvsadm -a -f 1 -r 192.168.166.129 -m",
		"ipvsadm -a -f 1 -r 192.168.166.131 -m",
	} {
		labtest.Exec(t, l, "director", strings.Fields(c)...)
	}
	both := func() string {
		var pages []string
		for range 2 {
			for _, port := range []string{"80", "443"} {
				page, err := l.Get("client", "http://172.16.253.63:"+port+"/")
				if err != nil {
					t.Fatal(err)
				}
				pages = append(pages, strings.TrimSpace(page))
			}
		}
		return strings.Join(pages, " ")
	}
	if got, want := both(), "Web2 Web1 Web2 Web1"; got != want {
		t.Errorf("the ports in turn gave %s, want %s: one round for both", got, want)
	}
	labtest.Exec(t, l, "director", "ipvsadm", "-E", "-f", "1", "-s", "rr", "-p", "60")
	if got := both(); got != "Web2 Web2 Web2 Web2" && got != "Web1 Web1 Web1 Web1" {
		t.Errorf("with persistence the ports gave %s, want one server", got)
	}
	labtest.Exec(t, l, "director", "uvs", "mark", "-F")
	if page, err := l.Get("client", "http://172.16.253.63/"); err == nil {
		t.Errorf("without rules %q still answered", page)
	}
}

// second is another web server of a node, on port 443.
func second(n *lab.Node) lab.Service {
	return lab.Service{Name: "https", Ready: "tcp:443",
		Command: lab.Command{"uvs", "http", "--text", "Web" + n.Name[2:], "--listen", ":443"}}
}

// A cache farm: clients reach the whole world through the director, which sends
// what goes to port 80 to transparent caches, one and the same for a
// destination, and routes everything else.
func TestACacheFarmByMark(t *testing.T) {
	topology := labtest.Build(t, "nat", lab.Options{RealServers: 3, VIPElsewhere: true})
	topology.Node("director").Setup = nil
	topology.Node("client").Gateway = topology.Node("director").Address()
	out := topology.RealServers()[2]
	out.Services = append(out.Services, second(out))
	l := labtest.Start(t, topology)
	for i, rs := range topology.RealServers() {
		// A transparent cache takes what is for any address of the world; the
		// world's other ports are answered by the last one, which stands for the Internet.
		labtest.Exec(t, l, rs.Name, "ip", "route", "add", "local", "203.0.113.0/24", "dev", "lo")
		if i == 2 {
			labtest.Exec(t, l, "director", "ip", "route", "add", "203.0.113.0/24", "via", rs.Address().String())
		}
	}
	for _, c := range []string{
		"uvs mark -A -s 172.16.0.0/16 -p tcp --dport 80 --set-mark 3",
		"ipvsadm -A -f 3 -s lblc",
		"ipvsadm -a -f 3 -r 192.168.166.129 -g",
		"ipvsadm -a -f 3 -r 192.168.166.131 -g",
	} {
		labtest.Exec(t, l, "director", strings.Fields(c)...)
	}
	const sites = 24
	first := map[string]string{}
	load := map[string]int{}
	for round := range 3 {
		for i := range sites {
			site := fmt.Sprintf("http://203.0.113.%d/", i+1)
			page, err := l.Get("client", site)
			if err != nil {
				t.Fatal(err)
			}
			if round == 0 {
				first[site] = page
				load[page]++
			} else if page != first[site] {
				t.Errorf("%s came from %q, first from %q: its cache must stay the same", site, page, first[site])
			}
		}
	}
	if len(load) != 2 || load["Web3\n"] != 0 || load["Web1\n"] < sites/4 || load["Web2\n"] < sites/4 {
		t.Errorf("sites by cache %v, want them spread over Web1 and Web2", load)
	}
	if page, err := l.Get("client", "http://203.0.113.1:443/"); err != nil || page != "Web3\n" {
		t.Errorf("port 443, which no rule marks, gave %q, %v; want it routed to Web3", page, err)
	}
	labtest.Exec(t, l, "director", "ipvsadm", "-C")
	if page, err := l.Get("client", "http://203.0.113.1/"); err != nil || page != "Web3\n" {
		t.Errorf("without service port 80 gave %q, %v; want it routed to Web3", page, err)
	}
}
