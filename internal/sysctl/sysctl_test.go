package sysctl

import (
	"bytes"
	"os"
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
	err = Run([]string{"kernel.nothing", "kernel.ostype"}, false, false, &out)
	if got, want := out.String(), "kernel.ostype = "+string(b); got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
	if err == nil || !strings.Contains(err.Error(), "sysctl: kernel.nothing: no such file") {
		t.Errorf("error %v", err)
	}
}
