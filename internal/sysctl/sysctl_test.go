package sysctl

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNamesAndFiles(t *testing.T) {
	for name, want := range map[string]string{
		"net.ipv4.ip_forward":             "/proc/sys/net/ipv4/ip_forward",
		"net/ipv4/conf/eth0.5/arp_ignore": "/proc/sys/net/ipv4/conf/eth0.5/arp_ignore",
	} {
		if got := Path(name); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
}

func TestWordsAreReadAndErrorsNameTheParameter(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/kernel/ostype")
	if err != nil {
		t.Skip(err)
	}
	var out bytes.Buffer
	err = Run([]string{"kernel.nothing", "kernel.ostype"}, nil, false, false, &out)
	if got, want := out.String(), "kernel.ostype = "+string(b); got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
	if err == nil || !strings.Contains(err.Error(), "sysctl: kernel.nothing: there is no such parameter") {
		t.Errorf("error %v", err)
	}
}

// settings is a director with one setting.
type settings struct{ sloppy string }

func (s *settings) Sysctl(name string) (string, error) {
	if name != "sloppy_tcp" {
		return "", errors.New("no such setting")
	}
	return s.sloppy, nil
}

func (s *settings) SetSysctl(_, value string) error { s.sloppy = value; return nil }

func TestTheDirectorsParametersGoToTheDirector(t *testing.T) {
	d := &settings{"0"}
	var out bytes.Buffer
	err := Run([]string{"net/ipv4/vs/sloppy_tcp=1", "net.ipv4.vs.sloppy_tcp", "net.ipv4.vs.x"}, d, false, false, &out)
	if want := "net/ipv4/vs/sloppy_tcp = 1\nnet.ipv4.vs.sloppy_tcp = 1\n"; out.String() != want || d.sloppy != "1" {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	if err == nil || err.Error() != "sysctl: net.ipv4.vs.x: no such setting" {
		t.Errorf("error %v", err)
	}
}

func TestTheHostsOwnSysctlDoesTheRest(t *testing.T) {
	dir := t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Skip(err)
	}
	ours, host := filepath.Join(dir, "ours"), filepath.Join(dir, "host")
	for _, d := range []string{ours, host} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(self, filepath.Join(ours, "sysctl")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", ours)
	if got := Host([]string{"kernel.ostype"}); got != "" {
		t.Errorf("without one the host's is %s", got)
	}
	if err := os.WriteFile(filepath.Join(host, "sysctl"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", ours+":"+host)
	if got, want := Host([]string{"-w", "kernel.ostype"}), filepath.Join(host, "sysctl"); got != want {
		t.Errorf("the host's is %q, want %s", got, want)
	}
	if got := Host([]string{"-w", "net.ipv4.vs.sloppy_tcp=1"}); got != "" {
		t.Errorf("a parameter of the director goes to %s", got)
	}
}
