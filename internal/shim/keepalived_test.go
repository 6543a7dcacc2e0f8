package shim

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"uvs/internal/nstest"
)

// program is one that runs under a shim until the test stops it.
type program struct {
	t    *testing.T
	cmd  *exec.Cmd
	said *output
}

// output collects what a program prints.
type output struct {
	sync.Mutex
	bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.Lock()
	defer o.Unlock()
	return o.Buffer.Write(b)
}

func (o *output) String() string {
	o.Lock()
	defer o.Unlock()
	return o.Buffer.String()
}

func start(t *testing.T, argv ...string) *program {
	t.Helper()
	p := &program{t, shimmedCommand(argv...), &output{}}
	p.cmd.Stdout, p.cmd.Stderr = p.said, p.said
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("%s said:\n%s", argv[0], p.said)
		}
	})
	return p
}

func (p *program) signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// stop ends the program by SIGTERM and checks that it ended well.
func (p *program) stop() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("it ended with %v", err)
	}
}

// keepalived starts Debian's keepalived, its health checker alone, with a configuration.
func keepalived(t *testing.T, dir, text string) *program {
	t.Helper()
	path := inDir(t, dir, "keepalived.conf", "global_defs {\n script_user root\n router_id test\n}\n"+text)
	return start(t, "keepalived", "--dont-fork", "--log-console", "--check", "--use-file", path,
		"--pid", filepath.Join(dir, "pid"), "--checkers_pid", filepath.Join(dir, "checkers"), "--vrrp_pid", filepath.Join(dir, "vrrp"))
}

func TestKeepalivedChecksServersOfEveryKind(t *testing.T) {
	need(t, "keepalived")
	d := startDirector(t)
	addresses(t, "10.1.0.1")
	dir := t.TempDir()
	file := filepath.Join(dir, "alive")
	checks := []struct {
		name, proto string
		port        int
		checker     string
		backend     backend
	}{
		{"TCP", "tcp", 8001, "TCP_CHECK {\n connect_timeout 1\n retry 0\n }", plainTCP},
		{"HTTP", "tcp", 8002, "HTTP_GET {\n url {\n path /\n status_code 200\n }\n connect_timeout 1\n retry 0\n }", web},
		{"SSL", "tcp", 8003, "SSL_GET {\n url {\n path /\n status_code 200\n }\n connect_timeout 1\n retry 0\n }", webTLS},
		{"MISC", "tcp", 8004, fmt.Sprintf("MISC_CHECK {\n misc_path \"/usr/bin/test -e %s\"\n misc_timeout 5\n }", file), fileBackend(file)},
		{"DNS", "udp", 8005, "DNS_CHECK {\n type A\n name www.test\n retry 0\n connect_timeout 1\n }", dns},
		{"UDP", "udp", 8006, "UDP_CHECK {\n payload 0102\n require_reply 0102\n retry 0\n connect_timeout 1\n }", echo},
		{"SMTP", "tcp", 8007, "SMTP_CHECK {\n connect_timeout 1\n retry 0\n helo_name test\n }", smtp},
	}
	if groups, err := os.ReadFile("/proc/self/setgroups"); err == nil && strings.HasPrefix(string(groups), "deny") {
		checks = slices.Delete(checks, 3, 4) // keepalived runs no script where it cannot set its groups
	}
	var text strings.Builder
	stops := make([]func(), len(checks))
	at := func(port int) string { return fmt.Sprintf("10.1.0.1:%d", port) }
	for i, c := range checks {
		fmt.Fprintf(&text, "virtual_server 10.0.0.1 %d {\n delay_loop 1\n lb_algo rr\n lb_kind NAT\n protocol %s\n real_server 10.1.0.1 %d {\n weight 2\n alpha\n %s\n }\n}\n",
			c.port, strings.ToUpper(c.proto), c.port, c.checker)
		stops[i] = c.backend(t, at(c.port))
	}
	p := keepalived(t, dir, text.String())
	service := func(i int) string { return fmt.Sprintf("%s:10.0.0.1:%d", checks[i].proto, checks[i].port) }
	up := func(i int) string { return at(checks[i].port) + " weight 2" }
	for i, c := range checks {
		await(t, d, c.name+": the server is found", service(i), up(i))
	}
	for _, stop := range stops {
		stop()
	}
	for i, c := range checks {
		await(t, d, c.name+": the server dies", service(i), "")
	}
	for i, c := range checks {
		stops[i] = c.backend(t, at(c.port))
		t.Cleanup(stops[i])
	}
	for i, c := range checks {
		await(t, d, c.name+": the server returns", service(i), up(i))
	}
	p.stop()
	for i, c := range checks {
		await(t, d, c.name+": keepalived ends", service(i), "none")
	}
}

const quorum = `virtual_server 10.0.0.2 80 {
 delay_loop 1
 lb_algo wrr
 lb_kind NAT
 protocol TCP
 quorum 2
 sorry_server 10.1.0.9 80
 real_server 10.1.0.1 80 {
  weight 3
  TCP_CHECK {
   connect_timeout 1
   retry 0
  }
 }
 real_server 10.1.0.2 80 {
  weight 1
  inhibit_on_failure
  TCP_CHECK {
   connect_timeout 1
   retry 0
  }
 }
}
`

func TestKeepalivedKeepsAQuorum(t *testing.T) {
	need(t, "keepalived")
	d := startDirector(t)
	addresses(t, "10.1.0.1", "10.1.0.2")
	const service = "tcp:10.0.0.2:80"
	a, b := plainTCP(t, "10.1.0.1:80"), plainTCP(t, "10.1.0.2:80")
	p := keepalived(t, t.TempDir(), quorum)
	await(t, d, "both are there", service, "10.1.0.1:80 weight 3, 10.1.0.2:80 weight 1")
	b()
	await(t, d, "the second is inhibited", service, "10.1.0.1:80 weight 3, 10.1.0.2:80 weight 0")
	a()
	await(t, d, "the quorum is lost", service, "10.1.0.2:80 weight 0, 10.1.0.9:80 weight 1")
	t.Cleanup(plainTCP(t, "10.1.0.1:80"))
	await(t, d, "the first returns", service, "10.1.0.1:80 weight 3, 10.1.0.2:80 weight 0")
	t.Cleanup(plainTCP(t, "10.1.0.2:80"))
	await(t, d, "the second returns", service, "10.1.0.1:80 weight 3, 10.1.0.2:80 weight 1")
	p.stop()
	await(t, d, "keepalived ends", service, "none")
}

func TestKeepalivedReloads(t *testing.T) {
	need(t, "keepalived")
	d := startDirector(t)
	dir := t.TempDir()
	server := func(a string, weight int) string {
		return fmt.Sprintf(" real_server %s 80 {\n weight %d\n }\n", a, weight)
	}
	text := func(servers ...string) string {
		return "virtual_server 10.0.0.3 80 {\n lb_algo rr\n lb_kind DR\n protocol TCP\n persistence_timeout 60\n" + strings.Join(servers, "") + "}\n"
	}
	const service = "tcp:10.0.0.3:80"
	p := keepalived(t, dir, text(server("10.1.0.1", 1), server("10.1.0.2", 1)))
	await(t, d, "it starts", service, "10.1.0.1:80 weight 1, 10.1.0.2:80 weight 1")
	inDir(t, dir, "keepalived.conf", text(server("10.1.0.2", 7), server("10.1.0.3", 1)))
	p.signal(syscall.SIGHUP)
	await(t, d, "it reloads", service, "10.1.0.2:80 weight 7, 10.1.0.3:80 weight 1")
	p.stop()
	await(t, d, "it ends", service, "none")
}

func TestKeepalivedServesAMark(t *testing.T) {
	need(t, "keepalived")
	d := startDirector(t)
	p := keepalived(t, t.TempDir(), "virtual_server fwmark 7 {\n lb_algo wlc\n lb_kind TUN\n real_server 10.1.0.1 0 {\n weight 1\n }\n}\n")
	await(t, d, "a service by mark", "mark:7", "10.1.0.1:0 weight 1")
	p.stop()
	await(t, d, "keepalived ends", "mark:7", "none")
}

// TestKeepalivedMakesTheServicesOfTheKernel runs keepalived with files in which much of its
// grammar occurs. What services it made in the real kernel is beside each.
func TestKeepalivedMakesTheServicesOfTheKernel(t *testing.T) {
	need(t, "keepalived")
	samples, err := filepath.Glob("testdata/keepalived/*.conf")
	if err != nil || len(samples) == 0 {
		t.Fatal(samples, err)
	}
	for _, sample := range samples {
		t.Run(filepath.Base(sample), func(t *testing.T) {
			nstest.Need(t)
			want, err := os.ReadFile(strings.TrimSuffix(sample, "conf") + "rules")
			if err != nil {
				t.Fatal(err)
			}
			startDirector(t)
			dir := t.TempDir()
			p := start(t, "keepalived", "--dont-fork", "--log-console", "--check", "--use-file", sample, "--config-id", "alpha",
				"--pid", filepath.Join(dir, "pid"), "--checkers_pid", filepath.Join(dir, "checkers"), "--vrrp_pid", filepath.Join(dir, "vrrp"))
			awaitServices(t, "it starts", string(want))
			p.stop()
			awaitServices(t, "it ends", "")
		})
	}
}

// awaitServices waits until these are the services, as commands.
func awaitServices(t *testing.T, what, want string) {
	t.Helper()
	got := ""
	defer func() {
		if t.Failed() {
			t.Logf("%s: the services are\n%s", what, got)
		}
	}()
	nstest.Eventually(t, what, func() bool {
		got = ""
		for line := range strings.Lines(ours(t, "-Sn")) {
			if strings.HasPrefix(line, "-A") {
				got += line
			}
		}
		return got == want
	})
}
