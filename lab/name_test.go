package lab

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"uvs/internal/nstest"
)

// TestALabIsFoundWhoeverHasItsName has another user take the name of a lab of
// root's before it starts.
func TestALabIsFoundWhoeverHasItsName(t *testing.T) {
	name := fmt.Sprintf("taken-%d", os.Getpid())
	squat := nstest.ListenAs(t, 65533, socketName(name))
	defer squat.Close()
	if _, err := Attach(name); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("held by user 65533, process %d", os.Getpid())) {
		t.Errorf("before it runs: %v", err)
	}
	l, got, err := claim(name, "nat")
	if err != nil || got != name {
		t.Fatalf("claim %s: %q, %v", name, got, err)
	}
	defer l.Close()
	if at := find(name); at != l.Addr().String() || labOf(at) != name {
		t.Errorf("found at %s, listens at %s", at, l.Addr())
	}
	if _, _, err := claim(name, "nat"); err == nil || !strings.Contains(err.Error(), "there is a lab") {
		t.Errorf("a second one of that name: %v", err)
	}
	free, other, err := claim("", name)
	if err != nil || other != name+"-2" {
		t.Fatalf("the next of that kind: %q, %v", other, err)
	}
	free.Close()
}
