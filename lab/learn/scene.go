package learn

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/lab"
)

// askWithin is how long an answer of a node may take.
const askWithin = 10 * time.Second

// Scene is the lab of a lesson as checks see it.
type Scene struct {
	Lab *lab.Lab

	directors map[string]*client.Client
	before    map[config.Connection]bool // the connections when the step began, by who and where
	held      []net.Conn
	note      string // to be shown when the step is done
}

func newScene(l *lab.Lab) *Scene {
	return &Scene{Lab: l, directors: map[string]*client.Client{}}
}

// director returns the control API of the director on a node.
func (s *Scene) director(node string) *client.Client {
	if s.directors[node] == nil {
		s.directors[node] = client.New("@uvs", client.ConnectedBy(func(ctx context.Context, socket string) (net.Conn, error) {
			return s.dialUnix(node, socket)
		}))
	}
	return s.directors[node]
}

// dialUnix connects to a socket in the network namespace of a node.
func (s *Scene) dialUnix(node, socket string) (net.Conn, error) {
	f, err := s.Lab.Socket(node, unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := unix.Connect(int(f.Fd()), &unix.SockaddrUnix{Name: socket}); err != nil {
		return nil, fmt.Errorf("learn: the director on %s: %w", node, os.NewSyscallError("connect", err))
	}
	return net.FileConn(f)
}

func ask() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), askWithin)
}

// services returns what the director has.
func (s *Scene) services() ([]config.ServiceState, error) {
	ctx, cancel := ask()
	defer cancel()
	return s.director("director").Services(ctx)
}

// service returns the director's TCP service at an address and port, or nil.
func (s *Scene) service(at string) (*config.ServiceState, error) {
	all, err := s.services()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(v config.ServiceState) bool {
		return v.Mark == 0 && v.Proto == config.TCP && netip.AddrPortFrom(v.Addr, v.Port).String() == at
	})
	if i < 0 {
		return nil, nil
	}
	return &all[i], nil
}

// connections returns the director's connections, and its templates if they are asked for.
func (s *Scene) connections(templates bool) (all []config.Connection, err error) {
	ctx, cancel := ask()
	defer cancel()
	for c, err := range s.director("director").Connections(ctx) {
		if err != nil {
			return nil, err
		}
		if c.Template == templates {
			all = append(all, c)
		}
	}
	return all, nil
}

// identity keeps of a connection what does not change.
func identity(c *config.Connection) config.Connection {
	return config.Connection{Proto: c.Proto, Client: c.Client, Virtual: c.Virtual, Server: c.Server}
}

// mark takes note of the connections, so that later ones can be told from them.
func (s *Scene) mark() error {
	all, err := s.connections(false)
	s.before = map[config.Connection]bool{}
	for i := range all {
		s.before[identity(&all[i])] = true
	}
	return err
}

// news returns the connections to a virtual address and port that have come since mark.
func (s *Scene) news(at string) ([]config.Connection, error) {
	all, err := s.connections(false)
	return slices.DeleteFunc(all, func(c config.Connection) bool {
		return s.before[identity(&c)] || c.Virtual.String() != at
	}), err
}

// output returns what a command prints on a node. What it prints on standard error counts as
// an error only if the command fails.
func (s *Scene) output(node string, argv ...string) (string, error) {
	return s.Lab.Exec(node, argv...)
}

// parameter reads a parameter of a node's kernel, such as net.ipv4.ip_forward.
func (s *Scene) parameter(node, name string) (string, error) {
	out, err := s.output(node, "cat", "/proc/sys/"+strings.ReplaceAll(name, ".", "/"))
	return strings.Join(strings.Fields(out), " "), err
}

// addresses returns the addresses of a node by interface, as ip(8) has them.
func (s *Scene) addresses(node string) (map[string][]netip.Prefix, error) {
	out, err := s.output(node, "ip", "-o", "addr", "show")
	all := map[string][]netip.Prefix{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 4 {
			continue
		}
		if p, err := netip.ParsePrefix(f[3]); err == nil {
			all[f[1]] = append(all[f[1]], p)
		}
	}
	return all, err
}

// Hold opens a connection from a node to a web server and holds it until the step ends: it
// asks for one page, and could ask for more. It returns its own end's address.
func (s *Scene) Hold(node, at string) (netip.AddrPort, error) {
	ctx, cancel := ask()
	defer cancel()
	c, err := s.Lab.Dial(ctx, node, "tcp", at)
	if err != nil {
		return netip.AddrPort{}, err
	}
	s.held = append(s.held, c)
	if err := page(c); err != nil {
		return netip.AddrPort{}, err
	}
	return netip.ParseAddrPort(c.LocalAddr().String())
}

// page asks for a page over a connection, reads it, and leaves the connection open.
func page(c net.Conn) error {
	_ = c.SetDeadline(time.Now().Add(askWithin))
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: vip\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}

// Release closes the connections that are held.
func (s *Scene) Release() {
	for _, c := range s.held {
		c.Close()
	}
	s.held = nil
}

// evidence describes the director's services as they are, for the result: what a listing
// shows, in one line each.
func (s *Scene) evidence() []string {
	services, err := s.services()
	if err != nil {
		return nil
	}
	var all []string
	for i := range services {
		v := &services[i]
		all = append(all, v.Key.String()+" "+v.Scheduler)
		for j := range v.Servers {
			r := &v.Servers[j]
			all = append(all, fmt.Sprintf("-> %v %v %d %d %d", r.AddrPort(), r.Method, r.Weight, r.Active, r.Inactive))
		}
	}
	return all
}

// lost reports whether the lab has ended.
func (s *Scene) lost() bool {
	_, err := s.Lab.Info()
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}
