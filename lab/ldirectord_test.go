package lab_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"uvs/lab"
	"uvs/lab/labtest"
)

// Debian's ldirectord, unchanged, drives the director of a NAT lab:
//
//	client ── director with ldirectord ── rs1, rs2 with nginx
//
// It finds /sbin/ipvsadm by that path. Either our binary is mounted over it, or it is Debian's,
// which like ldirectord itself is under a shim. A web server that stops is quieted (weight 0) or removed, as configured, and
// back in service when it is started again.
func TestLdirectordDrivesTheDirector(t *testing.T) {
	for _, c := range []struct {
		quiescent string
		dead      string // how the listing shows a dead server
		before    string
	}{
		{"yes", "  -> 192.168.166.129:80           Masq    0      0          0         \n", mountOurs},
		{"no", "", mountOurs},
		{"no, with Debian's ipvsadm", "", ""},
	} {
		t.Run("quiescent="+c.quiescent, func(t *testing.T) { ldirectord(t, strings.SplitN(c.quiescent, ",", 2)[0], c.dead, c.before) })
	}
}

// mountOurs mounts our binary over ipvsadm's.
const mountOurs = `mount --bind "$(command -v uvs)" /sbin/ipvsadm && `

func ldirectord(t *testing.T, quiescent, dead, before string) {
	for _, program := range []string{"ldirectord", "nginx"} {
		if _, err := exec.LookPath(program); err != nil {
			labtest.Skip(t, "needs "+program)
		}
	}
	if _, err := os.Stat("/sbin/ipvsadm"); err != nil {
		labtest.Skip(t, "needs /sbin/ipvsadm, to mount ours over it")
	}
	dir := t.TempDir()
	topology := labtest.Build(t, "nat", lab.Options{})
	for i, server := range topology.RealServers() {
		server.Services = []lab.Service{nginx(t, filepath.Join(dir, server.Name), fmt.Sprintf("Web%d", i+1))}
	}
	d := topology.Node("director")
	d.Setup = nil // it is ldirectord's business
	d.Services = append(d.Services, lab.Service{
		Name:    "ldirectord",
		Command: lab.Command{"sh", "-c", before + "exec ldirectord " + ldirectordFile(t, dir, &topology, quiescent) + " start"},
	})
	l := labtest.Start(t, topology)

	both := listing(1) + "  -> 192.168.166.129:80           Masq    1      0          0         \n"
	awaitServers(t, l, "both at the start", both)
	if err := l.Kill("rs1"); err != nil {
		t.Fatal(err)
	}
	awaitServers(t, l, "rs1 stopped", listing(1)+dead)
	if ok, failed := attempts(l, 6, patience); ok["Web2"] != 6 || failed != 0 {
		t.Errorf("with rs1 stopped: answers %v, %d failed, want 6 of Web2", ok, failed)
	}
	if err := l.StartServices("rs1"); err != nil {
		t.Fatal(err)
	}
	awaitServers(t, l, "rs1 started again", both)
	if ok, failed := attempts(l, 6, patience); ok["Web1"] != 3 || ok["Web2"] != 3 || failed != 0 {
		t.Errorf("with rs1 back: answers %v, %d failed, want 3 of each", ok, failed)
	}
}

// listing returns the line of rs2, which is always listed.
func listing(weight int) string {
	return fmt.Sprintf("  -> 192.168.166.131:80           Masq    %d      0          0         \n", weight)
}

// awaitServers waits until the listing has these lines of servers, whatever
// their order and connections.
func awaitServers(t *testing.T, l *lab.Lab, what, want string) {
	t.Helper()
	var got string
	for limit := time.Now().Add(40 * time.Second); time.Now().Before(limit); time.Sleep(100 * time.Millisecond) {
		got = labtest.Exec(t, l, "director", "ipvsadm", "-Ln")
		if sameServers(got, want) {
			return
		}
	}
	t.Fatalf("%s: the listing stays\n%swant the servers\n%s", what, got, want)
}

func sameServers(listing, want string) bool {
	found := 0
	for line := range strings.Lines(listing) {
		if !strings.HasPrefix(line, "  -> 192.") {
			continue
		}
		found++
		if !strings.Contains(want, line[:len("  -> 192.168.166.129:80           Masq    1 ")]) {
			return false
		}
	}
	return found == strings.Count(want, "\n")
}

func ldirectordFile(t *testing.T, dir string, topology *lab.Topology, quiescent string) string {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "checktimeout=2\ncheckinterval=1\nautoreload=no\nquiescent=%s\nsupervised=yes\nlogfile=\"%s\"\n", quiescent, filepath.Join(dir, "log"))
	fmt.Fprintf(&b, "virtual=%s:80\n", topology.VIP)
	for _, server := range topology.RealServers() {
		fmt.Fprintf(&b, "\treal=%s:80 masq\n", server.Address())
	}
	b.WriteString("\tservice=http\n\trequest=\"/\"\n\treceive=\"Web\"\n\tscheduler=rr\n\tprotocol=tcp\n\tchecktype=negotiate\n")
	return write(t, filepath.Join(dir, "ldirectord.cf"), b.String())
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// nginx is a web server with one page, which keeps all its files in dir.
func nginx(t *testing.T, dir, page string) lab.Service {
	t.Helper()
	write(t, filepath.Join(dir, "www", "index.html"), page+"\n")
	conf := strings.ReplaceAll(`user root;
daemon off;
worker_processes 1;
pid DIR/pid;
error_log DIR/error.log;
events { worker_connections 64; }
http {
	access_log off;
	keepalive_timeout 0;
	client_body_temp_path DIR/body;
	proxy_temp_path DIR/proxy;
	fastcgi_temp_path DIR/fastcgi;
	uwsgi_temp_path DIR/uwsgi;
	scgi_temp_path DIR/scgi;
	server { listen 80; root DIR/www; }
}
`, "DIR", dir)
	return lab.Service{
		Name: "nginx", Ready: "tcp:80",
		Command: lab.Command{"nginx", "-e", filepath.Join(dir, "error.log"), "-c", write(t, filepath.Join(dir, "nginx.conf"), conf)},
	}
}
