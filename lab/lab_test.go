package lab_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"uvs/internal/web"
	"uvs/lab"
	"uvs/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// routed is experiment 1 with a router in the director's place, to test the
// lab alone: client ── director (forwards) ── rs1, rs2.
func routed(tb testing.TB, o lab.Options) lab.Topology {
	o.Bare = true
	t := labtest.Build(tb, "nat", o)
	d := t.Node("director")
	d.Services, d.Forward = nil, true
	t.Node("client").Gateway = t.VIP
	return t
}

func TestCommandsEndAsInAShell(t *testing.T) {
	l := labtest.Start(t, routed(t, lab.Options{}))
	for _, c := range []struct {
		name string
		argv []string
		code int
	}{
		{"success is 0", []string{"true"}, 0},
		{"a status is passed on", []string{"sh", "-c", "exit 7"}, 7},
		{"a signal adds 128", []string{"sh", "-c", "kill -9 $$"}, 137},
		{"no such command is 127", []string{"no-such-command"}, 127},
		{"no such file is 127", []string{"/no/such/file"}, 127},
		{"a directory is 126", []string{"/etc"}, 126},
		{"a file without x is 126", []string{"/etc/passwd"}, 126},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := l.Command("client", c.argv...).Run()
			var exit *lab.ExitError
			if c.code == 0 && err == nil {
				return
			}
			if !errors.As(err, &exit) || exit.Code != c.code {
				t.Errorf("%q ended with %v, want status %d", c.argv, err, c.code)
			}
		})
	}
}

func TestANodeThatIsNotThereIsNamed(t *testing.T) {
	l := labtest.Start(t, routed(t, lab.Options{}))
	_, err := l.Exec("rs9", "true")
	if err == nil || !strings.Contains(err.Error(), `no node "rs9"`) {
		t.Errorf("got %v", err)
	}
}

func TestStreamsAreTheCommandsOwn(t *testing.T) {
	l := labtest.Start(t, routed(t, lab.Options{}))
	const size = 3 << 20
	want, _ := io.ReadAll(web.Stream(size))
	cmd := l.Command("client", "sh", "-c", "cat; echo done >&2")
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(want), &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), want) || errs.String() != "done\n" {
		t.Errorf("%d of %d bytes came back, standard error %q", out.Len(), size, errs.String())
	}
}

func TestSignalsReachTheCommand(t *testing.T) {
	l := labtest.Start(t, routed(t, lab.Options{}))
	cmd := l.Command("client", "sh", "-c", "trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 0.01; done")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.Stdout = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	buf := make([]byte, 64)
	n, _ := r.Read(buf)
	if err := cmd.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	rest, _ := io.ReadAll(r)
	var exit *lab.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.Code != 3 {
		t.Errorf("ended with %v, want status 3", err)
	}
	if got := string(buf[:n]) + string(rest); got != "ready\ncaught\n" {
		t.Errorf("printed %q", got)
	}
}

// Commands in a node see that node: its links, its name, its kernel parameters, and the other
// nodes through "ip netns".
func TestEachNodeIsAHostOfItsOwn(t *testing.T) {
	l := labtest.Start(t, routed(t, lab.Options{}))
	for _, c := range []struct{ node, script, want string }{
		{"rs1", "hostname", "rs1\n"},
		{"client", "ls /sys/class/net", "eth0\nlo\n"},
		{"director", "ls /sys/class/net", "eth0\neth1\nlo\n"},
		{"director", "cat /proc/sys/net/ipv4/ip_forward", "1\n"},
		{"rs1", "cat /proc/sys/net/ipv4/ip_forward", "0\n"},
		{"rs1", "cat /proc/sys/net/ipv4/conf/eth0/rp_filter", "0\n"},
		{"rs1", "echo 2 > /proc/sys/net/ipv4/conf/all/arp_announce; cat /proc/sys/net/ipv4/conf/all/arp_announce", "2\n"},
		{"rs2", "cat /proc/sys/net/ipv4/conf/all/arp_announce", "0\n"},
		{"rs1", "id -u", "0\n"},
		{"client", "command -v ipvsadm; command -v ipvsadm-save", "/run/uvs/bin/ipvsadm\n/run/uvs/bin/ipvsadm-save\n"},
	} {
		if got := labtest.Exec(t, l, c.node, "sh", "-c", c.script); got != c.want {
			t.Errorf("%s# %s\ngot  %q\nwant %q", c.node, c.script, got, c.want)
		}
	}
	if _, err := l.Exec("client", "sh", "-c", "command -v ip"); err != nil {
		t.Skip("the host has no ip tool: not tried inside")
	}
	if got := labtest.Exec(t, l, "client", "ip", "netns", "exec", "rs2", "ip", "-br", "-4", "addr", "show", "eth0"); !strings.Contains(got, "192.168.166.131/24") {
		t.Errorf("ip netns exec rs2 shows %q", got)
	}
}

func TestAProgramOutsideSpeaksFromANode(t *testing.T) {
	l := labtest.Start(t, routed(t, lab.Options{RealServers: 3}))
	for i, want := range []string{"Web1\n", "Web2\n", "Web3\n"} {
		rs := l.Topology.RealServers()[i]
		got, err := l.Get("client", "http://"+rs.Address().String()+"/")
		if err != nil || got != want {
			t.Errorf("%s at %s said %q, %v", rs.Name, rs.Address(), got, err)
		}
	}
	seen, err := l.Get("client", "http://192.168.166.129/client")
	if at, _ := netip.ParseAddrPort(strings.TrimSpace(seen)); err != nil || at.Addr().String() != "172.16.253.36" {
		t.Errorf("the real server saw %q, %v", seen, err)
	}
	_, err = l.Dial(context.Background(), "client", "tcp", "192.168.166.129:81")
	if !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a closed port gives %v", err)
	}
}

func TestTwoLabsDoNotCollide(t *testing.T) {
	a := labtest.Start(t, routed(t, lab.Options{}))
	b := labtest.Start(t, routed(t, lab.Options{}))
	if a.Name == b.Name {
		t.Fatalf("both are called %s", a.Name)
	}
	labtest.Exec(t, a, "rs1", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/all/arp_ignore")
	if err := a.Kill("rs1"); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Get("client", "http://192.168.166.129/"); err != nil || got != "Web1\n" {
		t.Errorf("the other lab's rs1 said %q, %v", got, err)
	}
	newest, err := lab.Attach("")
	if err != nil || newest.Name != b.Name {
		t.Errorf("the newest is %v, %v; want %s", newest, err, b.Name)
	}
	measured := routed(t, lab.Options{})
	measured.ByName = true
	labtest.Start(t, measured)
	if newest, err = lab.Attach(""); err != nil || newest.Name != b.Name {
		t.Errorf("the newest that need not be named is %v, %v; want %s", newest, err, b.Name)
	}
	if _, err := lab.Start(routed(t, lab.Options{}), lab.Config{Name: a.Name, Program: labtest.Program(t)}); err == nil {
		t.Errorf("a second lab %s started", a.Name)
	}
}

func TestAServerDiesAndComesBack(t *testing.T) {
	l := labtest.Start(t, routed(t, lab.Options{}))
	const url = "http://192.168.166.129/"
	if err := l.Kill("rs1"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Get("client", url); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("a dead server gives %v", err)
	}
	if err := l.StartServices("rs1"); err != nil {
		t.Fatal(err)
	}
	if got, err := l.Get("client", url); err != nil || got != "Web1\n" {
		t.Errorf("revived it said %q, %v", got, err)
	}
}

func TestNamesThatAreNone(t *testing.T) {
	for _, name := range []string{"A", "a/b", "-a", "a b", strings.Repeat("x", 40)} {
		if _, err := lab.Start(routed(t, lab.Options{}), lab.Config{Name: name}); err == nil {
			t.Errorf("a lab called %q started", name)
		}
	}
}

func TestTheSixTopologiesAreTheOthersOverIPv6(t *testing.T) {
	topology := labtest.Build(t, "tun6", lab.Options{})
	d := topology.Node("director")
	got := fmt.Sprint(topology.VIP, d.Interfaces, d.Gateway, d.Setup, topology.Node("rs2").Setup, topology.Node("client").Interfaces)
	want := "fd00:172:16::253:63 [{middle [{fd00:172:16::253:130/64 } {fd00:172:16::253:63/128 }] }] fd00:172:16::253:36 " +
		"[ipvsadm -A -t [fd00:172:16::253:63]:80 -s rr " +
		"ipvsadm -a -t [fd00:172:16::253:63]:80 -r [fd00:192:168:166::129]:80 -i " +
		"ipvsadm -a -t [fd00:172:16::253:63]:80 -r [fd00:192:168:166::131]:80 -i] " +
		"[ip addr add fd00:172:16::253:63/128 dev lo] [{outside [{fd00:100::6/64 }] }]"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if _, err := lab.Build("nat6", lab.Options{MTU: 1279}); err == nil {
		t.Error("IPv6 with an MTU of 1279 was built")
	}
	if _, err := lab.Build("dr-gateway6", lab.Options{}); err == nil {
		t.Error("dr-gateway6 was built, which would have two networks on one link alike")
	}
}

func TestTopologiesAreNamedInTheError(t *testing.T) {
	_, err := lab.Build("ring", lab.Options{})
	if err == nil || !strings.Contains(err.Error(), "cache-farm, cache-farm6, dr, dr-gateway, dr6, fullnat, fullnat6, mixed, mixed6, nat, nat6, tun, tun6, two-vips, two-vips6, ha") {
		t.Errorf("got %v", err)
	}
}
