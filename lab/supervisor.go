package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"uvs/internal/lean"
	"uvs/internal/sysctl"
)

// envSupervisor marks the process that is to be a lab's supervisor.
const envSupervisor = "UVS_LAB_SUPERVISOR"

// Descriptors that the supervisor finds open.
const (
	fdControl  = 3 // to the process that started it
	fdListener = 4 // the lab's socket
)

// mainCalled tells Start that the program can be a supervisor.
var mainCalled bool

// Main makes the calling process a lab's supervisor if it was started as one, and then
// does not return; otherwise it does nothing. Every program that uses [Start] calls it
// first in main, or in TestMain.
func Main() {
	mainCalled = true
	if os.Getenv(envSupervisor) == "" {
		return
	}
	os.Unsetenv(envSupervisor)
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "lab: not started as a supervisor:", envSupervisor, "is not for use by hand")
		os.Exit(1)
	}
	supervise()
	os.Exit(0)
}

// supervisor is the first process of a lab's namespaces and owns the whole lab: when it
// ends, for whatever reason, the kernel removes the rest.
type supervisor struct {
	startMessage
	started  time.Time
	control  *net.UnixConn
	reaper   *reaper
	hosts    []*host
	services []*running
	faults   faultLog
	links    links
	failing  sync.Mutex // guards host.failed
	// changing is held by what makes the lab another, and shared by all other requests while
	// they look at its topology, hosts and services.
	changing sync.RWMutex
	// state guards the topology, hosts and services for requests that do not wait until the lab is
	// another. Who holds changing alone needs it to write only.
	state      sync.RWMutex
	notes      []string   // of what could not be undone, while the lab is made another
	setUpBy    time.Time  // when set-up commands have to have ended; zero: they may take their time
	unfinished []Topology // from which the lab should have become its topology, and has not in full
}

func supervise() {
	// The lab's processes must not inherit these: "lab up" waits for the control
	// connection, and the listener is the supervisor's.
	unix.CloseOnExec(fdControl)
	unix.CloseOnExec(fdListener)
	s := &supervisor{started: time.Now()}
	listener, err := s.inheritSockets()
	if err != nil {
		return // the starter has ended, or there never was one
	}
	commands := json.NewDecoder(s.control)
	if err := commands.Decode(&s.startMessage); err != nil {
		return
	}
	if err := s.build(); err != nil {
		denied := errors.Is(err, fs.ErrPermission) // EPERM and EACCES
		_ = json.NewEncoder(s.control).Encode(answer{Error: err.Error(), Denied: denied})
		return
	}
	lean.NoPackets() // frames are read by those who ask for them
	go s.serve(listener)
	if inner, err := net.ListenUnix("unix", &net.UnixAddr{Name: innerSocket, Net: "unix"}); err == nil {
		go s.serve(inner)
	}
	if json.NewEncoder(s.control).Encode(answer{Started: true}) != nil {
		return
	}
	s.awaitEnd(commands)
}

// inheritSockets opens the descriptors that the supervisor was started with.
func (s *supervisor) inheritSockets() (*net.UnixListener, error) {
	c, err := net.FileConn(os.NewFile(fdControl, "control"))
	if err != nil {
		return nil, err
	}
	l, err := net.FileListener(os.NewFile(fdListener, "listener"))
	if err != nil {
		return nil, err
	}
	control, ok := c.(*net.UnixConn)
	listener, ok2 := l.(*net.UnixListener)
	if !ok || !ok2 {
		return nil, errors.New("lab: not unix sockets")
	}
	s.control = control
	return listener, nil
}

// awaitEnd returns when the lab must end: on SIGTERM or SIGINT, or when the starter ends
// without having detached the lab.
func (s *supervisor) awaitEnd(commands *json.Decoder) {
	end := make(chan os.Signal, 1)
	signal.Notify(end, unix.SIGTERM, unix.SIGINT)
	alone := make(chan struct{})
	go func() {
		var m startMessage
		if err := commands.Decode(&m); err != nil || !m.Detach {
			close(alone)
			return
		}
		s.control.Close()
	}()
	select {
	case <-end:
	case <-alone:
	}
}

// build builds the topology, in an order in which nothing waits for what does not exist
// yet.
func (s *supervisor) build() error {
	if err := mountPrivate(s.Program); err != nil {
		return err
	}
	if err := s.writeFiles(); err != nil {
		return err
	}
	s.reaper = newReaper()
	if err := s.makeHosts(); err != nil {
		return err
	}
	if err := buildNetworks(&s.Topology, s.hosts); err != nil {
		return err
	}
	for _, h := range s.hosts {
		if err := h.configure(); err != nil {
			return err
		}
	}
	if err := s.awaitNetworks(); err != nil {
		return err
	}
	if err := s.impairAtStart(); err != nil {
		return err
	}
	if err := s.startServices(); err != nil {
		return err
	}
	return s.setUp()
}

// setUp configures the virtual server on all nodes.
func (s *supervisor) setUp() error {
	if s.Topology.Bare {
		return nil
	}
	for _, h := range s.hosts {
		for _, c := range h.Setup {
			if err := s.setup(h, c); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *supervisor) makeHosts() error {
	for i := range s.Topology.Nodes {
		h, err := newHost(&s.Topology.Nodes[i])
		if err != nil {
			return err
		}
		s.hosts = append(s.hosts, h)
	}
	// Only now: a node's mounts are a copy, which must have all names in /run/netns.
	for _, h := range s.hosts {
		if err := h.isolate(); err != nil {
			return err
		}
	}
	return nil
}

func (s *supervisor) host(name string) (*host, error) {
	for _, h := range s.hosts {
		if h.Name == name {
			return h, nil
		}
	}
	names := ""
	for _, h := range s.hosts {
		names += " " + h.Name
	}
	return nil, fmt.Errorf("lab %s has no node %q, it has%s", s.Name, name, names)
}

// setup runs a set-up command. Setting a parameter, adding an address and taking a network
// for one's own need no tool of the host.
func (s *supervisor) setup(h *host, c Command) error {
	switch {
	case len(c) > 2 && c[0] == "sysctl":
		return h.try(func() error { return sysctl.Run(c[2:], nil, true, false, io.Discard) })
	case len(c) == 6 && c[0] == "ip" && c[1] == "addr" && c[2] == "add" && c[4] == "dev":
		a, err := parseAddress(c[3])
		if err != nil {
			return err
		}
		return h.addAddress(c[5], a)
	case len(c) == 7 && slices.Equal(c[:4], Command{"ip", "route", "add", "local"}) && c[5] == "dev":
		return h.addLocal(c[4], c[6])
	}
	out, code, err := s.run(h, c)
	if err != nil {
		return fmt.Errorf("lab: %s: %s: %w", h.Name, c, err)
	}
	if code != 0 {
		return fmt.Errorf("lab: %s: %s: exit status %d: %s", h.Name, c, code, out)
	}
	return nil
}

// run runs a set-up command on a node and returns what it printed. One that lasts too long is
// killed.
func (s *supervisor) run(h *host, c Command) (string, int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", 0, err
	}
	defer r.Close()
	p, err := s.spawn(h, c, w)
	w.Close()
	if err != nil {
		return "", 0, err
	}
	if !s.setUpBy.IsZero() {
		late := time.AfterFunc(time.Until(s.setUpBy), func() {
			p.signal(unix.SIGKILL)
			_ = r.SetReadDeadline(time.Now()) // others may have its output open
		})
		defer late.Stop()
	}
	out, err := io.ReadAll(io.LimitReader(r, 1<<20))
	code := p.wait()
	if !s.setUpBy.IsZero() && time.Now().After(s.setUpBy) {
		err = fmt.Errorf("killed: the set-up commands of one change last longer than %s", setUpWithin)
	}
	return string(out), code, err
}

// spawn starts a command of the lab itself, without input.
func (s *supervisor) spawn(h *host, c Command, output *os.File) (*process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	env := environ(os.Environ(), s.Name, h.Name)
	return s.reaper.start(h, c, env, "/", []*os.File{null, output, output}, false)
}
