package sysctl

import (
	"errors"
	"strings"
	"testing"
	"uvs/forwarder/config"
)

func TestParametersThatADirectorLacksAreExplained(t *testing.T) {
	for name, want := range map[string]string{
		"conntrack": "the kernel's net.ipv4.vs.conntrack has no meaning here: netfilter",
		"nothing":   "there is no net.ipv4.vs.nothing; uvs sysctl -a lists",
	} {
		err := Unknown(name)
		if !errors.Is(err, config.ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
}
