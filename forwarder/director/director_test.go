package director

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/nftables"
	"golang.org/x/net/bpf"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/forwarder/neigh"
	"uvs/forwarder/port"
	"uvs/forwarder/porttest"
	"uvs/internal/nstest"
)

// What a Config cannot say is refused before anything is opened, and the error
// names the field.
func TestAWrongFieldIsNamed(t *testing.T) {
	for _, tt := range []struct {
		name, field, text string
		set               func(*Config)
	}{
		{"more workers than sockets can share an interface", "Workers", "director: Workers 257: 0 to 256", func(c *Config) { c.Workers = 257 }},
		{"fewer connections than none", "Conns", "director: Conns -1: 1 to 1073741823 (0: 4194304)", func(c *Config) { c.Conns = -1 }},
		{"ports of an unknown kind", "IO", `director: IO "pcap": ring, socket or tap:NAME`, func(c *Config) { c.IO = "pcap" }},
		{"a device without a name", "IO", `director: IO "tap:": ring, socket or tap:NAME`, func(c *Config) { c.IO = "tap:" }},
		{"a device's name that the kernel would cut", "IO", `director: IO "tap:sixteen-letters-": an interface's name has 15 bytes at most`,
			func(c *Config) { c.IO = "tap:sixteen-letters-" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Defaults()
			tt.set(&c)
			_, err := New(t.Context(), c)
			var field *FieldError
			if !errors.As(err, &field) || field.Field != tt.field || err.Error() != tt.text {
				t.Errorf("error %v, want %s", err, tt.text)
			}
		})
	}
}

func TestMain(m *testing.M) { os.Exit(nstest.Run(m)) }

// The program goes on after its director: the host's stack must not stay kept away
// from what was served, nor may the next director find this one.
func TestADirectorLeavesItsNetworkNamespaceAsItWas(t *testing.T) {
	nstest.Need(t)
	tables := func() int {
		t.Helper()
		all, err := (&nftables.Conn{}).ListTables()
		if err != nil {
			t.Skip(err)
		}
		return len(all)
	}
	before := tables()
	for range 2 {
		d, err := New(t.Context(), inNamespace(t))
		if err != nil {
			t.Fatal(err)
		}
		if tables() == before {
			t.Skip("no guard here")
		}
		if _, err := New(t.Context(), inNamespace(t)); err == nil || !strings.Contains(err.Error(), "a director works in this network namespace already") {
			t.Errorf("a second director: %v", err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		<-d.Ready()
		stop()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
		if n := tables(); n != before {
			t.Errorf("%d tables stay behind", n-before)
		}
	}
}

// Without a state, which has one writer, two directors would both answer for their addresses.
func TestOneOfTwoDirectorsThatStartAtOnceWorks(t *testing.T) {
	nstest.Need(t)
	for range 5 {
		var errs [2]error
		var all [2]*Director
		var starting sync.WaitGroup
		for i := range all {
			c := inNamespace(t)
			c.State = StateNone
			starting.Go(func() { all[i], errs[i] = New(t.Context(), c) })
		}
		starting.Wait()
		refused := 0
		for i, err := range errs {
			if err == nil {
				all[i].Close()
			} else if strings.Contains(err.Error(), "a director works in this network namespace already") {
				refused++
			}
		}
		if refused != 1 {
			t.Fatalf("one is to be refused: %v; %v", errs[0], errs[1])
		}
	}
}

func TestADirectorThatDoesNotRunLeavesNothingEither(t *testing.T) {
	nstest.Need(t)
	for range 2 {
		d, err := New(t.Context(), inNamespace(t))
		if err != nil {
			t.Fatal(err)
		}
		d.Close()
		d.Close()
	}
}

func inNamespace(t *testing.T) Config {
	t.Helper()
	c := Defaults()
	c.Conns = 1 << 10
	c.Socket = filepath.Join(shortDir(t), "socket")
	c.State = filepath.Join(shortDir(t), "state")
	return c
}

// memory is a driver of one link, a pipe.
type memory struct{ near, far *porttest.Port }

var link = neigh.Link{Index: 1, Name: "m", MAC: [6]byte{2}, MTU: 1500, Up: true, Running: true, Ethernet: true}

func (memory) OwnPorts(neigh.Link) bool { return true }

func (m memory) Open(neigh.Link, int, []bpf.RawInstruction) ([]port.Port, error) {
	return []port.Port{m.near}, nil
}

func (m memory) Sender(neigh.Link) (port.Port, error) { return m.near, nil }

func inMemory(t *testing.T) Config {
	t.Helper()
	var m memory
	m.near, m.far = porttest.Pipe()
	c := Defaults()
	c.Driver, c.Neighbours = m, &neigh.Static{Interfaces: []neigh.Link{link}}
	c.Conns = 1 << 10
	c.Socket = filepath.Join(shortDir(t), "socket")
	return c
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A director needs no network namespace of its own: it loads its rules, says when
// it is ready, answers, follows the rules file, and saves what runs at the end.
func TestADirectorInMemoryFromItsStartToItsEnd(t *testing.T) {
	c := inMemory(t)
	c.Rules = filepath.Join(shortDir(t), "rules")
	c.Version = "of the test"
	ready := make(chan struct{})
	c.OnReady = func() { close(ready) }
	write(t, c.Rules, "-A -t 10.0.0.1:80 -s rr\n")
	d, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	<-ready
	api := client.New(c.Socket)
	if about, err := api.About(ctx); err != nil || about.Version != "of the test" {
		t.Errorf("the director introduces itself as %+v, %v", about, err)
	}
	write(t, c.Rules, "-A -t 10.0.0.1:80 -s wlc\n-A -u 10.0.0.1:53 -s sh\n")
	if err := d.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	if services, err := api.Services(ctx); err != nil || len(services) != 2 || services[0].Scheduler != "wlc" {
		t.Errorf("after Reload: %+v, %v", services, err)
	}
	if err := d.DeleteService(config.Key{Proto: config.UDP, Addr: netip.MustParseAddr("10.0.0.1"), Port: 53}); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if saved, err := os.ReadFile(c.Rules); err != nil || !strings.Contains(string(saved), "-A -t 10.0.0.1:80 -s wlc\n") || strings.Contains(string(saved), "-u") {
		t.Errorf("saved %q, %v", saved, err)
	}
	if _, err := api.About(t.Context()); !errors.Is(err, client.ErrNoDirector) {
		t.Errorf("after the end: %v, want no director", err)
	}
}

func TestADirectorWithoutControlOpensNoSocket(t *testing.T) {
	c := inMemory(t)
	c.NoControl = true
	d, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- d.Run(ctx) }()
	<-d.Ready()
	if _, err := os.Lstat(c.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

// A director that cannot start leaves nothing open.
func TestRulesWithAMistakeLeaveTheSocketFree(t *testing.T) {
	c := inMemory(t)
	c.Rules = filepath.Join(shortDir(t), "rules")
	write(t, c.Rules, "-A -t 10.0.0.1:80 -s rr\n-A -t 10.0.0.1:81 -s bogus\n")
	if _, err := New(t.Context(), c); err == nil || !strings.Contains(err.Error(), "line 2") {
		t.Errorf("error %v, want one of line 2", err)
	}
	if _, err := os.Lstat(c.Socket); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket: %v", err)
	}
}

// shortDir is a directory of the test whose path leaves room for a socket's name (108
// bytes, unix(7)), which that of t.TempDir may not.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "d")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
