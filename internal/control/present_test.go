package control

import (
	"strings"
	"testing"
)

func TestADirectorFindsAnotherAndNamesIt(t *testing.T) {
	first, err := Present(Introduction{PID: 4711, Interfaces: []string{"eth0", "eth1"}, Socket: "/run/first"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Present(Introduction{PID: 4712, Socket: "@second"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	want := "process 4711 on eth0, eth1, control socket /run/first."
	if err := second.CheckAlone(); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("the second says %v, want %q", err, want)
	}
	first.Close()
	if err := second.CheckAlone(); err != nil && strings.Contains(err.Error(), "4711") {
		t.Errorf("when the first has gone: %v", err)
	}
	if err := (*Presence)(nil).Close(); err != nil {
		t.Error(err)
	}
}
