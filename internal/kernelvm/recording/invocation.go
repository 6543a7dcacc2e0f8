package recording

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Invocation is a recording of one call of ipvsadm. The question is name, setup, a list of
// calls before it, argv and stdin; the answer rc, stdout, stderr, what the kernel logged
// (klog), and what is listed afterwards: save (-Sn), list (-Ln), timeout and daemon. Of klog
// and list only those are answered that are there. The names of hosts are those below, and
// the interface eth0 has the address 10.0.0.1/8.
type Invocation struct{ object }

// hosts is /etc/hosts, and all that names are resolved by.
const hosts = `127.0.0.1 localhost
10.0.0.1 vip.example.test vip
10.1.0.1 rs-one.example.test
10.1.0.2 a-very-long-real-server-host-name.sub.domain.example.test
fd00::1 vip6.example.test
`

func writeHosts() error {
	return errors.Join(os.WriteFile("/etc/hosts", []byte(hosts), 0o644),
		os.WriteFile("/etc/nsswitch.conf", []byte("hosts: files\nservices: files\n"), 0o644))
}

func (i *Invocation) ask(*uint16) error { return inNamespace(i.play) }

func (i *Invocation) play() error {
	var setup [][]string
	var argv []string
	var stdin *string
	for key, v := range map[string]any{"setup": &setup, "argv": &argv, "stdin": &stdin} {
		if err := i.get(key, v); err != nil {
			return err
		}
	}
	if err := writeHosts(); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	if _, err := command("link set lo up\nlink add eth0 type dummy\naddr add 10.0.0.1/8 dev eth0\nlink set eth0 up\n", "ip", "-batch", "-"); err != nil {
		return err
	}
	for _, words := range setup {
		if _, stderr, rc, err := invoke("", words); err != nil || rc != 0 {
			return fmt.Errorf("setup %q: status %d, %s: %w", words, rc, stderr, err)
		}
	}
	if _, err := unix.Klogctl(unix.SYSLOG_ACTION_CLEAR, nil); err != nil {
		return fmt.Errorf("recording: clear the kernel's log: %w", err)
	}
	text := ""
	if stdin != nil {
		text = *stdin
	}
	stdout, stderr, rc, err := invoke(text, argv)
	if err != nil {
		return err
	}
	i.set("rc", rc)
	i.set("stderr", stderr)
	var before string
	if err := i.get("stdout", &before); err != nil {
		return err
	}
	unsorted := slices.Contains(argv, "--nosort") // the order is that of hash tables whose seed is new
	if !unsorted || !sameLines(strings.Split(before, "\n"), strings.Split(stdout, "\n")) {
		i.set("stdout", stdout)
	}
	return i.observe()
}

// observe records what the call left.
func (i *Invocation) observe() error {
	if i.has("klog") {
		if err := i.keepLog(); err != nil {
			return err
		}
	}
	for _, after := range []struct {
		key   string
		words []string
		trim  bool
	}{{"save", []string{"-Sn"}, false}, {"list", []string{"-Ln"}, false}, {"timeout", []string{"-L", "--timeout"}, true}, {"daemon", []string{"-L", "--daemon"}, true}} {
		if after.key == "list" && !i.has("list") {
			continue
		}
		out, _, _, err := invoke("", after.words)
		if err != nil {
			return err
		}
		if after.trim {
			out = strings.TrimSpace(out)
		}
		i.set(after.key, out)
	}
	return nil
}

// keepLog sets klog to what IPVS has logged since the last clear. The numbers of threads
// in it count up.
func (i *Invocation) keepLog() error {
	buf := make([]byte, 1<<16)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, buf)
	if err != nil {
		return fmt.Errorf("recording: read the kernel's log: %w", err)
	}
	now := listed{}
	for line := range strings.Lines(string(buf[:n])) {
		if at := strings.Index(line, "IPVS: "); at >= 0 && !strings.Contains(line, "registered") {
			now = append(now, strings.TrimSpace(line[at:]))
		}
	}
	var before listed
	if err := i.get("klog", &before); err != nil || !sameLines(before, now) {
		i.set("klog", now)
	}
	return nil
}

// invoke runs ipvsadm and returns its output and status.
func invoke(stdin string, words []string) (stdout, stderr string, rc int, err error) {
	cmd := exec.Command("ipvsadm", words...)
	var out, complaints strings.Builder
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &complaints
	err = cmd.Run()
	if cmd.ProcessState == nil {
		return "", "", 0, fmt.Errorf("recording: ipvsadm: %w", err)
	}
	rc = cmd.ProcessState.ExitCode()
	if rc < 0 {
		rc = -int(cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
	}
	return out.String(), complaints.String(), rc, nil
}
