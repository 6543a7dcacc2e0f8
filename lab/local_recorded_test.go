package lab_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uvs/lab"
	"uvs/lab/labtest"
)

// recordedLocal is one configuration with a server on the director, or a client:
// what a client elsewhere and one on the director then got, and what was listed,
// recorded from Linux 6.1 IPVS and ipvsadm 1.31.
type recordedLocal struct {
	Commands    []string
	Remote      string
	Local       string
	List        string
	Save        string
	Connections [][]string // protocol, state, client's address, service, server
}

// recordedTopology is the network of the recording:
//
//	client 10.9.0.2, fd09::2 ── director ── 10.1.0.1, fd01::1 rs1
//
// with 10.9.0.100, fd09::100 on the director.
func recordedTopology() lab.Topology {
	with := func(network string, addrs ...string) lab.Interface {
		i := lab.Interface{Network: network}
		for _, a := range addrs {
			i.Addresses = append(i.Addresses, lab.Address{Prefix: netip.MustParsePrefix(a)})
		}
		return i
	}
	server := lab.Service{Name: "http", Ready: "tcp:80", Command: lab.Command{"uvs", "http", "--text", "rs:80"}}
	director := lab.Node{Name: "director", Role: lab.Director, Forward: true, Interfaces: []lab.Interface{
		with("outside", "10.9.0.1/24", "fd09::1/64", "10.9.0.100/32", "fd09::100/128"),
		with("inside", "10.1.0.254/24", "fd01::fe/64")},
		Services: []lab.Service{{Name: "director", Command: lab.Command{"uvs", "director"}, Ready: "unix:@uvs"}}}
	for _, port := range []string{"80", "8080"} {
		director.Services = append(director.Services, lab.Service{Name: "http" + port, Ready: "tcp:" + port,
			Command: lab.Command{"uvs", "http", "--text", "director:" + port, "--listen", ":" + port}})
	}
	return lab.Topology{Name: "recorded", Networks: []lab.Network{{Name: "outside"}, {Name: "inside"}}, Nodes: []lab.Node{
		{Name: "client", Role: lab.Client, Interfaces: []lab.Interface{with("outside", "10.9.0.2/24", "fd09::2/64")}},
		director,
		{Name: "rs1", Role: lab.Real, Interfaces: []lab.Interface{with("inside", "10.1.0.1/24", "fd01::1/64")},
			Services: []lab.Service{server}, Setup: []lab.Command{
				{"ip", "route", "add", "default", "via", "10.1.0.254"}, {"ip", "route", "add", "default", "via", "fd01::fe"}}},
	}}
}

func TestServersAndClientsOnTheDirectorAsRecorded(t *testing.T) {
	for _, r := range readRecordedLocal(t) {
		t.Run(r.Commands[1], func(t *testing.T) {
			t.Parallel()
			l := labtest.Start(t, recordedTopology())
			for _, c := range r.Commands {
				labtest.Exec(t, l, "director", append([]string{"ipvsadm"}, strings.Fields(c)...)...)
			}
			service := strings.Fields(r.Commands[0])[2]
			got := recordedLocal{Commands: r.Commands}
			r.Remote, r.Local = short(r.Remote), short(r.Local)
			got.Remote = fetched(l, "client", service, r.Remote)
			got.Local = fetched(l, "director", service, r.Local)
			// The last segments of a connection come after its data.
			for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
				got.List = labtest.Exec(t, l, "director", "ipvsadm", "-Ln")
				got.Save = labtest.Exec(t, l, "director", "ipvsadm", "-Sn")
				got.Connections = listed(labtest.Exec(t, l, "director", "ipvsadm", "-Lcn"))
				d := cmp.Diff(r, got)
				if d == "" {
					return
				}
				if time.Now().After(end) {
					t.Fatalf("(-recorded +got)\n%s", d)
				}
			}
		})
	}
}

func readRecordedLocal(t *testing.T) (all []recordedLocal) {
	f, err := os.Open("testdata/local.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		var r recordedLocal
		if err := json.Unmarshal(s.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

// short turns "me 10.9.0.2; director 10.1.0.254:8080 from 10.9.0.2" into
// "director:8080 from 10.9.0.2", and any failure into "fail".
func short(recorded string) string {
	words := strings.Fields(recorded)
	if words[0] == "fail" {
		return "fail"
	}
	port := words[3][strings.LastIndexByte(words[3], ':'):]
	return words[2] + port + " from " + words[5]
}

// fetched returns which server answered a node's request, and the source address it saw. The
// timeout is short if the request is to fail.
func fetched(l *lab.Lab, node, service, want string) string {
	client := l.HTTPClient(node)
	client.Timeout = patience
	if want == "fail" {
		client.Timeout = time.Second
	}
	answer, err := client.Get("http://" + service + "/client")
	if err != nil {
		return "fail"
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		return "fail"
	}
	from, err := netip.ParseAddrPort(strings.TrimSpace(string(b)))
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%s from %s", answer.Header.Get("Real-Server"), from.Addr().Unmap())
}

// listed returns the listing of connections without times and clients' ports.
func listed(text string) (all [][]string) {
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 6 && f[0] == "TCP" {
			all = append(all, []string{f[0], f[2], f[3][:strings.LastIndexByte(f[3], ':')], f[4], f[5]})
		}
	}
	slices.SortFunc(all, slices.Compare)
	return all
}
