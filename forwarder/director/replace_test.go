package director

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/forwarder/guard"
	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
	"uvs/forwarder/socket"
	"uvs/internal/control"
	"uvs/internal/fdstore"
	"uvs/internal/nstest"
)

// run runs a director until the test ends and returns what Run returns.
func run(t *testing.T, d *Director) (ended <-chan error, stop func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	t.Cleanup(stop)
	e := make(chan error, 1)
	go func() { e <- d.Run(ctx) }()
	<-d.Ready()
	return e, stop
}

// kept returns a Config for this network namespace whose descriptors are kept.
func kept(t *testing.T, socket, rules string) Config {
	t.Helper()
	c := Defaults()
	c.Conns, c.Socket, c.Rules, c.Store = 1<<10, socket, rules, fdstore.New()
	c.State = filepath.Join(filepath.Dir(socket), "state")
	t.Cleanup(c.Store.Close)
	return c
}

func TestADirectorIsReplacedAgainAndAgain(t *testing.T) {
	nstest.Need(t)
	dir := shortDir(t)
	rules, socket := filepath.Join(dir, "rules"), filepath.Join(dir, "socket")
	write(t, rules, "-A -t 10.0.0.1:80 -s rr\n")
	c := kept(t, socket, rules)
	d, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ended, stop := run(t, d)
	for range 5 {
		old := c.Store
		c = kept(t, socket, rules)
		c.Replace = true
		next, err := New(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		nextEnded, nextStop := run(t, next)
		if err := <-ended; err != nil {
			t.Fatalf("the one before: %v", err)
		}
		old.Close() // as its process would
		ended, stop = nextEnded, nextStop
		if services, err := client.New(socket).Services(t.Context()); err != nil || len(services) != 1 {
			t.Errorf("%d services, %v", len(services), err)
		}
		if names := c.Store.Names(""); len(names) < 3 {
			t.Errorf("kept are only %v", names)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the control socket stays: %v", err)
	}
}

// deaf is a driver that has no ports.
type deaf struct{ socket.Driver }

func (deaf) Open(neigh.Link, int, []bpf.RawInstruction) ([]port.Port, error) {
	return nil, unix.EMFILE
}

// The table of the director before guards while this one has none.
func TestAKeptGuardStaysWhileThereIsNoOther(t *testing.T) {
	d := Director{conf: Config{Store: fdstore.New(), Log: slog.New(slog.DiscardHandler)}}
	defer d.conf.Store.Close()
	inherit := func(name string) {
		other := fdstore.New()
		defer other.Close()
		if err := other.Keep(name, os.Stdin); err != nil {
			t.Fatal(err)
		}
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err != nil {
			t.Fatal(err)
		}
		from, to := fdstore.NewHandover(unixConn(t, fds[0])), fdstore.NewHandover(unixConn(t, fds[1]))
		defer from.Close()
		defer to.Close()
		if err := errors.Join(from.SendStore(other), to.ReceiveStore(d.conf.Store)); err != nil {
			t.Fatal(err)
		}
	}
	inherit("guard-uvs")
	inherit("ring-of-another-build")
	_ = d.begun(t.Context())
	if names := d.conf.Store.Names(""); !slices.Equal(names, []string{"guard-uvs"}) {
		t.Errorf("kept are %v", names)
	}
	d.conf.NoGuard = true
	_ = d.begun(t.Context())
	if names := d.conf.Store.Names(""); len(names) > 0 {
		t.Errorf("kept are %v where no guard is wanted", names)
	}
}

func size(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// unixConn returns the connection of a socket, which it closes.
func unixConn(t *testing.T, fd int) *net.UnixConn {
	t.Helper()
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*net.UnixConn)
}

// Whatever is wrong with the new director, the old one goes on.
func TestASuccessorThatFailsLeavesTheOldOneServing(t *testing.T) {
	nstest.Need(t)
	dir := shortDir(t)
	socket, rules, wrong := filepath.Join(dir, "socket"), filepath.Join(dir, "rules"), filepath.Join(dir, "wrong")
	write(t, rules, "-A -t 10.0.0.1:80 -s rr\n")
	write(t, wrong, "-A -t 10.0.0.1:80 -s nonsense\n")
	c := kept(t, socket, rules)
	d, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ended, _ := run(t, d)
	serves := func(when string) {
		t.Helper()
		if services, err := client.New(socket).Services(t.Context()); err != nil || len(services) != 1 {
			t.Errorf("%s: %d services, %v", when, len(services), err)
		}
	}
	again := func(when string) {
		t.Helper()
		if err := <-ended; !errors.Is(err, ErrNotReplaced) {
			t.Fatalf("%s: the old one ends with %v", when, err)
		}
		if d, err = New(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		ended, _ = run(t, d)
		serves(when)
	}
	bad := kept(t, socket, wrong)
	bad.Replace = true
	if _, err := New(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "nonsense") {
		t.Errorf("rules with a mistake: %v", err)
	}
	serves("after rules with a mistake")

	// What is found only when the old one has handed over.
	bad = kept(t, filepath.Join(dir, "no", "folder", "socket"), rules)
	bad.Replace = true
	if _, err := New(t.Context(), bad); err == nil {
		t.Error("a socket where there is no folder was opened")
	}
	if err := <-ended; !errors.Is(err, ErrNotReplaced) || !strings.Contains(err.Error(), "no/folder") {
		t.Fatalf("the old one ends with %v", err)
	}
	if d, err = New(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	ended, _ = run(t, d)
	serves("after a socket that cannot be opened")

	// One that would not find the state.
	bad = kept(t, socket, rules)
	bad.Replace, bad.State = true, filepath.Join(dir, "elsewhere")
	if _, err := New(t.Context(), bad); err == nil || !strings.Contains(err.Error(), "the same --state") {
		t.Errorf("another state: %v", err)
	}
	again("after one with another state")

	// One that cannot receive.
	bad = kept(t, socket, rules)
	bad.Replace, bad.Driver, bad.Conns = true, deaf{}, 1<<12
	conns := size(t, filepath.Join(c.State, "conns"))
	next, err := New(t.Context(), bad)
	if err != nil {
		t.Fatal(err)
	}
	if err := next.Run(t.Context()); !errors.Is(err, unix.EMFILE) {
		t.Errorf("without ports: %v", err)
	}
	if size(t, filepath.Join(c.State, "conns")) == conns {
		t.Error("it has not converted the table")
	}
	again("after one without ports")
	if size(t, filepath.Join(c.State, "conns")) != conns {
		t.Error("the old one goes on with a table that was converted for the other")
	}

	// One whose guard does not come about, while that of the old one is kept.
	other := fdstore.New()
	defer other.Close()
	for _, name := range c.Store.Names(guard.KeptPrefix) {
		_ = other.Keep(name, os.Stdin) // so that it takes the other name
	}
	lingering, err := guard.New(c.Log, other)
	if err != nil {
		t.Fatal(err)
	}
	bad = kept(t, socket, rules)
	bad.Replace = true
	if _, err := New(t.Context(), bad); !errors.Is(err, guard.ErrGuarded) {
		t.Errorf("with another's guard: %v", err)
	}
	if err := lingering.Leave(); err != nil {
		t.Fatal(err)
	}
	again("after one without a guard")

	// One that ends in the middle.
	conn, err := control.Replace(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	if err := fdstore.NewHandover(conn).Send(message{Do: doTake}); err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if err := <-ended; !errors.Is(err, ErrNotReplaced) {
		t.Fatalf("the old one ends with %v", err)
	}
	if d, err = New(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	ended, stop := run(t, d)
	defer func() { stop(); <-ended }()
	serves("after one that ended in the middle")
}

// A signal can come at any time.
func TestADirectorCanBeLeftBeforeItRuns(t *testing.T) {
	c := Defaults()
	c.Conns, c.NoControl, c.Neighbours, c.Driver = 1<<10, true, &neigh.Static{}, deaf{}
	d, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	d.Leave()
	if err := d.Run(t.Context()); err != nil {
		t.Error(err)
	}
}

// A process that has said that it serves can be killed before anybody watches it.
func TestASuccessorThatHasEndedIsNoticed(t *testing.T) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	s, other := successor{conn: unixConn(t, fds[0])}, unixConn(t, fds[1])
	defer s.conn.Close()
	if s.ended() {
		t.Error("one that lives has ended")
	}
	other.Close()
	if !s.ended() {
		t.Error("one that has ended lives")
	}
}

// Who connects while no director runs waits for the next one.
func TestAClientWaitsWhileNobodyRuns(t *testing.T) {
	nstest.Need(t)
	c := kept(t, filepath.Join(shortDir(t), "socket"), "")
	d, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ended, _ := run(t, d)
	d.Leave()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("unix", c.Socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("GET /v1/about HTTP/1.0\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if d, err = New(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	ended, stop := run(t, d)
	defer func() { stop(); <-ended }()
	answer := make([]byte, 15)
	if _, err := conn.Read(answer); err != nil || string(answer) != "HTTP/1.0 200 OK" {
		t.Errorf("the answer is %q, %v", answer, err)
	}
}

func TestWithoutADirectorReplaceStartsOne(t *testing.T) {
	nstest.Need(t)
	c := kept(t, filepath.Join(shortDir(t), "socket"), "")
	c.Replace = true
	d, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ended, stop := run(t, d)
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if names := c.Store.Names(""); len(names) > 0 {
		t.Errorf("kept are %v after a stop", names)
	}
}
