package ipvsadm

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"

	"uvs/forwarder/config"
)

// Names resolves names of hosts and ports, and back.
type Names interface {
	// Host returns the IPv4 address of a host.
	Host(name string) (netip.Addr, bool)
	// HostOf returns the name of the host with an address.
	HostOf(netip.Addr) (string, bool)
	// Port returns the number of a service's port.
	Port(name string, p config.Proto) (uint16, bool)
	// PortOf returns the name of a port.
	PortOf(port uint16, p config.Proto) (string, bool)
}

// SystemNames resolves names with the system's resolver (/etc/hosts and the DNS) and
// /etc/services. It looks each address up once.
type SystemNames struct {
	hosts    map[netip.Addr]string
	services func() *services
}

// NewSystemNames returns the system's names, not yet read.
func NewSystemNames() *SystemNames {
	return &SystemNames{hosts: map[netip.Addr]string{}, services: sync.OnceValue(systemServices)}
}

// Host returns the first IPv4 address of a host.
func (n *SystemNames) Host(name string) (netip.Addr, bool) {
	addrs, err := net.DefaultResolver.LookupNetIP(context.Background(), "ip4", name)
	if err != nil || len(addrs) == 0 {
		return netip.Addr{}, false
	}
	return addrs[0].Unmap(), true
}

// HostOf returns the first name of an address.
func (n *SystemNames) HostOf(a netip.Addr) (string, bool) {
	name, known := n.hosts[a]
	if !known {
		names, err := net.DefaultResolver.LookupAddr(context.Background(), a.String())
		if err == nil && len(names) > 0 {
			name = strings.TrimSuffix(names[0], ".")
		}
		n.hosts[a] = name
	}
	return name, name != ""
}

// Port looks a name or an alias up in /etc/services.
func (n *SystemNames) Port(name string, p config.Proto) (uint16, bool) {
	return n.services().port(name, p)
}

// PortOf looks a port up in /etc/services.
func (n *SystemNames) PortOf(port uint16, p config.Proto) (string, bool) {
	return n.services().name(port, p)
}

// services is a table in the form of services(5). If a name or a port occurs more than
// once, the first entry counts.
type services struct {
	ports map[serviceName]uint16
	names map[servicePort]string
}

type serviceName struct{ name, proto string }

type servicePort struct {
	port  uint16
	proto string
}

func systemServices() *services {
	file, err := os.Open("/etc/services")
	if err != nil {
		return readServices(strings.NewReader(""))
	}
	defer file.Close()
	return readServices(file)
}

func readServices(r io.Reader) *services {
	s := &services{map[serviceName]uint16{}, map[servicePort]string{}}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		if fields := strings.Fields(text); len(fields) >= 2 {
			s.add(fields[0], fields[1], fields[2:])
		}
	}
	return s
}

func (s *services) add(name, portProto string, aliases []string) {
	number, proto, _ := strings.Cut(portProto, "/")
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return
	}
	if _, known := s.names[servicePort{uint16(port), proto}]; !known {
		s.names[servicePort{uint16(port), proto}] = name
	}
	for _, name := range append([]string{name}, aliases...) {
		if _, known := s.ports[serviceName{name, proto}]; !known {
			s.ports[serviceName{name, proto}] = uint16(port)
		}
	}
}

func (s *services) port(name string, p config.Proto) (uint16, bool) {
	port, ok := s.ports[serviceName{name, strings.ToLower(p.String())}]
	return port, ok
}

func (s *services) name(port uint16, p config.Proto) (string, bool) {
	name, ok := s.names[servicePort{port, strings.ToLower(p.String())}]
	return name, ok
}
