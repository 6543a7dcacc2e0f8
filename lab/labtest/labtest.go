// Package labtest starts labs for tests. A test package that uses it has
//
//	func TestMain(m *testing.M) { labtest.Main(m) }
//
// and then calls [Start]. The nodes run the uvs binary of this tree, which is built once
// for all packages; UVS_PROGRAM names one that is built already.
//
// Tests run as root and as a plain user. If the system does not allow that, they are
// skipped with the reason, or fail if UVS_REQUIRE_NETNS is set, as it is in continuous
// integration.
package labtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"uvs/internal/nstest"
	"uvs/lab"
)

// Main runs a package's tests. It lets the test binary be a lab's supervisor, and leaves
// nothing behind however the tests end.
func Main(m *testing.M) {
	lab.Main()
	os.Exit(nstest.Supervise(m))
}

// Start starts a lab that ends with the test. If the test fails, it logs the last output
// of the nodes' services.
func Start(tb testing.TB, t lab.Topology) *lab.Lab {
	tb.Helper()
	Available(tb)
	l, err := lab.Start(t, lab.Config{Program: Program(tb)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if tb.Failed() {
			logs(tb, l)
		}
		if err := l.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return l
}

// Build returns a built-in topology.
func Build(tb testing.TB, name string, o lab.Options) lab.Topology {
	tb.Helper()
	t, err := lab.Build(name, o)
	if err != nil {
		tb.Fatal(err)
	}
	return t
}

// Exec runs a command in a node, fails the test if the command fails, and
// returns what it printed.
func Exec(tb testing.TB, l *lab.Lab, node string, argv ...string) string {
	tb.Helper()
	out, err := l.Exec(node, argv...)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}

// Available skips the test if no lab can be built, which it finds out by building one.
func Available(tb testing.TB) {
	tb.Helper()
	if err := attempt(); err != nil {
		Skip(tb, err.Error())
	}
}

var attempt = sync.OnceValue(func() error {
	return try(func(*lab.Lab) error { return nil })
})

// try calls f with a lab of one node.
func try(f func(*lab.Lab) error) error {
	l, err := lab.Start(lab.Topology{Name: "attempt", Nodes: []lab.Node{{Name: "client"}}}, lab.Config{})
	if err != nil {
		return err
	}
	return errors.Join(f(l), l.Close())
}

// NeedIP skips the test if the nodes of a lab have no ip(8).
func NeedIP(tb testing.TB) {
	tb.Helper()
	Available(tb)
	if err := ip(); err != nil {
		Skip(tb, "needs ip of iproute2: "+err.Error())
	}
}

var ip = sync.OnceValue(func() error {
	return try(func(l *lab.Lab) error {
		_, err := l.Exec("client", "ip", "-V")
		return err
	})
})

// Skip skips the test, or fails it if skipping is not allowed.
func Skip(tb testing.TB, why string) {
	tb.Helper()
	if os.Getenv("UVS_REQUIRE_NETNS") != "" {
		tb.Fatal(why)
	}
	tb.Skip(why)
}

// Program returns the uvs binary.
func Program(tb testing.TB) string {
	tb.Helper()
	path, err := program()
	if err != nil {
		tb.Fatal(err)
	}
	return path
}

// program builds uvs as "go tool" does: into the build cache, where all test packages
// find the same binary and no test has to remove it. A lock on the cache makes the first
// of them build and the others wait.
var program = sync.OnceValues(func() (string, error) {
	if p := os.Getenv("UVS_PROGRAM"); p != "" {
		return p, nil
	}
	cache, err := output("go", "env", "GOCACHE")
	if err != nil {
		return "", err
	}
	lock, err := os.Open(cache)
	if err != nil {
		return "", fmt.Errorf("build uvs: %w", err)
	}
	defer lock.Close() // releases the lock
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", fmt.Errorf("build uvs: lock %s: %w", cache, err)
	}
	return output("go", "tool", "-n", "uvs")
})

// output runs a command and returns the line it prints.
func output(argv ...string) (string, error) {
	var errs strings.Builder
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w\n%s", strings.Join(argv, " "), err, errs.String())
	}
	return strings.TrimSpace(string(out)), nil
}

func logs(tb testing.TB, l *lab.Lab) {
	for _, n := range l.Topology.Nodes {
		if text, err := l.Logs(n.Name); err == nil && text != "" {
			tb.Logf("%s printed:\n%s", n.Name, text)
		}
	}
}
