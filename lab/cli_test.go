package lab_test

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"uvs/lab"
	"uvs/lab/labtest"
)

// uvs runs the binary as a user does.
func uvs(t *testing.T, args ...string) (string, int) {
	t.Helper()
	out, err := exec.Command(labtest.Program(t), args...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out), 0
}

func TestWordsOfTheCommandLine(t *testing.T) {
	l := labtest.Start(t, routed(t, lab.Options{}))
	for _, c := range []struct {
		name string
		args string
		code int
		want string
	}{
		{"a command and its output", "lab exec --lab LAB client -- echo hello", 0, "hello\n"},
		{"without the dashes", "lab exec --lab LAB client echo -n hello", 0, "hello"},
		{"a command's own dashes stay", "lab exec --lab LAB client -- echo -- a", 0, "-- a\n"},
		{"a command's own flags stay", "lab exec --lab LAB client sh -c :", 0, ""},
		{"the command's status", "lab exec --lab LAB client -- sh -c false", 1, ""},
		{"a shell without a terminal", "lab shell --lab LAB rs1 -- hostname", 0, "rs1\n"},
		{"no such command", "lab exec --lab LAB client -- nope", 127, "uvs: nope: command not found\n"},
		{"no such node", "lab exec --lab LAB rs7 -- true", 1, "uvs: lab LAB has no node \"rs7\", it has client director rs1 rs2\n"},
		{"no such lab", "lab exec --lab none client -- true", 1, "uvs: no lab \"none\" is running; see: uvs lab ls\n"},
		{"no node", "lab exec --lab LAB", 1, "uvs: name a node: client, director, rs1, rs2, ... or gateway\n"},
		{"no command", "lab exec --lab LAB client", 1, "uvs: name a command: uvs lab exec NODE -- CMD\n"},
		{"no topology", "lab up", 1, "uvs: name one topology: " + strings.Join(append(lab.Names(), lab.PairNames()...), ", ") + "; or a file, such as ./my.yaml\n"},
		{"no such topology", "lab up ring", 1, "uvs: lab: no topology \"ring\", there are " + strings.Join(append(lab.Names(), lab.PairNames()...), ", ") + "\n"},
		{"no real servers", "lab up nat --rs 0", 1, "uvs: --rs 0: at least one real server\n"},
		{"too many", "lab up nat --rs 101", 1, "uvs: lab: 101 real servers: it can be 1 to 100\n"},
		{"an MTU too small", "lab up nat --mtu 100", 1, "uvs: --mtu 100: it can be 576 to 65521\n"},
		{"a name that is taken", "lab up nat --name LAB", 1, "uvs: lab: there is a lab \"LAB\" already; take it down with: uvs lab down LAB\n"},
		{"dead and alive", "lab kill --lab LAB rs1", 0, ""},
		{"and again", "lab start --lab LAB rs1", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := strings.Fields(strings.ReplaceAll(c.args, "LAB", l.Name))
			out, code := uvs(t, args...)
			if want := strings.ReplaceAll(c.want, "LAB", l.Name); out != want || code != c.code {
				t.Errorf("uvs %s\ngot  %q, status %d\nwant %q, status %d", strings.Join(args, " "), out, code, want, c.code)
			}
		})
	}
}

func TestListAndInspectShowTheLab(t *testing.T) {
	l := labtest.Start(t, routed(t, lab.Options{}))
	if out, _ := uvs(t, "lab", "ls"); !strings.Contains(out, "\n"+l.Name+" ") {
		t.Errorf("ls shows\n%s", out)
	}
	if out, _ := uvs(t, "lab", "inspect", l.Name); !strings.Contains(out, "eth0 172.16.253.63/16, eth1 192.168.166.130/24") {
		t.Errorf("inspect shows\n%s", out)
	}
	if out, _ := uvs(t, "lab", "inspect", "--json", l.Name); !strings.Contains(out, `"vip": "172.16.253.63"`) {
		t.Errorf("inspect --json shows\n%s", out)
	}
}

// The lab provides tools that the host lacks; here the host has none.
func TestToolsWorkOnAHostWithoutAny(t *testing.T) {
	l := labtest.Start(t, routed(t, lab.Options{}))
	for _, c := range []struct{ argv, want string }{
		{"/run/uvs/fallback/curl -s http://192.168.166.129/", "Web1\n"},
		{"/run/uvs/fallback/curl -sS 192.168.166.131", "Web2\n"},
		{"/run/uvs/fallback/ping -c 1 192.168.166.131", "1 packets transmitted, 1 received, 0% packet loss\n"},
		{"/run/uvs/bin/sysctl -w net.ipv4.conf.eth0.arp_ignore=1", "net.ipv4.conf.eth0.arp_ignore = 1\n"},
		{"/run/uvs/bin/sysctl -n net.ipv4.conf.eth0.arp_ignore", "1\n"},
		{"uvs get -n 2 http://192.168.166.129/", "Web1\nWeb1\n"},
	} {
		cmd := l.Command("client", strings.Fields(c.argv)...)
		cmd.Env = []string{}
		if out, err := cmd.Output(); err != nil || !strings.HasSuffix(out, c.want) {
			t.Errorf("%s\ngot  %q, %v\nwant %q", c.argv, out, err, c.want)
		}
	}
}

func TestAShellHasATerminalAndJobControl(t *testing.T) {
	if _, err := os.Stat("/bin/bash"); err != nil {
		t.Skip("no bash here")
	}
	l := labtest.Start(t, routed(t, lab.Options{}))
	cmd := exec.Command(labtest.Program(t), "lab", "shell", "--lab", l.Name, "rs1", "--", "/bin/bash", "--norc")
	cmd.Env = append(os.Environ(), "PS1=$ ")
	screen, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 33, Cols: 77})
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	talk := &terminal{t: t, f: screen}
	talk.expect("$ ")
	talk.enter("hostname; stty size", "rs1\r\n33 77\r\n")
	if err := pty.Setsize(screen, &pty.Winsize{Rows: 20, Cols: 60}); err != nil {
		t.Fatal(err)
	}
	talk.enter("sleep 0.1; stty size", "20 60\r\n")
	talk.enter("sleep 99", "sleep 99\r\n")
	talk.key("\x1a", "Stopped")
	talk.enter("fg", "sleep 99\r\n")
	talk.key("\x03", "$ ")
	talk.enter("echo status $?", "status 130")
	talk.enter("exit 5", "exit")
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 5 {
		t.Errorf("the shell ended with %v, want status 5", err)
	}
}

// terminal is a person at a keyboard.
type terminal struct {
	t    *testing.T
	f    *os.File
	seen string
}

func (x *terminal) enter(line, want string) {
	x.t.Helper()
	x.key(line+"\n", want)
}

func (x *terminal) key(keys, want string) {
	x.t.Helper()
	// Job control takes a moment to hand the terminal over; a person does, too.
	time.Sleep(100 * time.Millisecond)
	if _, err := io.WriteString(x.f, keys); err != nil {
		x.t.Fatal(err)
	}
	x.expect(want)
}

// expect reads until the terminal has shown want.
func (x *terminal) expect(want string) {
	x.t.Helper()
	buf := make([]byte, 4096)
	done := time.AfterFunc(10*time.Second, func() { x.f.Close() })
	defer done.Stop()
	for !strings.Contains(x.seen, want) {
		n, err := x.f.Read(buf)
		if err != nil {
			x.t.Fatalf("%v; waiting for %q, saw %q", err, want, x.seen)
		}
		x.seen += string(buf[:n])
	}
	_, x.seen, _ = strings.Cut(x.seen, want)
}
