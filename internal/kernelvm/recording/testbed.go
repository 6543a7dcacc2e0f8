package recording

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// testbed is a director in a network namespace of its own, with a TAP device for each side.
// Frames from and to clients and real servers are written and read there, so only IPVS
// answers.
//
//	clients 172.16.0.0/12, fd00:c::/64 ── director ── real servers 10.1.0.N, fd00:1::N
//	                               VIPs 10.0.0.0/24, 10.2.0.0/15, 10.5.0.0/16, fd00::/64, fd00:2::/64, fd00:3::/64
type testbed struct {
	clients, servers *tap
	ident            *uint16 // IPv4 identification of the last packet, for all testbeds
}

// The MAC addresses of the director's two sides and of the clients' router. Real
// server N has serverMAC with N as its last byte.
var (
	clientsMAC = []byte{2, 0, 0, 0xd0, 0, 1}
	serversMAC = []byte{2, 0, 0, 0xd0, 0, 2}
	routerMAC  = []byte{2, 0, 0, 2, 0, 1}
	serverMAC  = []byte{2, 0, 0, 1, 0, 0}
)

// inNamespace calls f in a new network namespace, which is removed afterwards together with
// its services and connections.
func inNamespace(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the namespace ends with the thread
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err != nil {
			err = fmt.Errorf("recording: new network namespace: %w", err)
		} else {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// inTestbed calls f with a new testbed.
func inTestbed(ident *uint16, f func(*testbed) error) error {
	return inNamespace(func() error {
		b, err := newTestbed(ident)
		if err != nil {
			return err
		}
		defer b.clients.close()
		defer b.servers.close()
		return f(b)
	})
}

func newTestbed(ident *uint16) (*testbed, error) {
	for name, value := range map[string]string{
		"ipv4/ip_forward":                        "1",
		"ipv4/conf/all/rp_filter":                "0",
		"ipv4/conf/default/rp_filter":            "0",
		"ipv4/conf/all/send_redirects":           "0",
		"ipv4/conf/default/send_redirects":       "0",
		"ipv4/icmp_ratelimit":                    "0",
		"ipv6/icmp/ratelimit":                    "0",
		"ipv4/icmp_msgs_per_sec":                 "1000000",
		"ipv4/icmp_msgs_burst":                   "1000000",
		"ipv6/conf/all/forwarding":               "1",
		"ipv6/conf/default/router_solicitations": "0",
	} {
		if err := setSysctl(name, value); err != nil {
			return nil, err
		}
	}
	clients, err := openTAP("clients")
	if err != nil {
		return nil, err
	}
	servers, err := openTAP("servers")
	if err != nil {
		clients.close()
		return nil, err
	}
	b := &testbed{clients: clients, servers: servers, ident: ident}
	if _, err := command(addressing(), "ip", "-batch", "-"); err != nil {
		clients.close()
		servers.close()
		return nil, err
	}
	return b, nil
}

// addressing returns the commands of ip that give the director its addresses,
// routes and neighbours.
func addressing() string {
	var s strings.Builder
	s.WriteString(`link set lo up
link set clients address 02:00:00:d0:00:01
link set servers address 02:00:00:d0:00:02
link set clients up
link set servers up
addr add 10.9.0.1/24 dev clients
addr add 10.1.255.254/16 dev servers
addr add fd00:9::1/64 dev clients nodad
addr add fd00:1::fffe/64 dev servers nodad
neigh replace 10.9.0.2 lladdr 02:00:00:02:00:01 nud permanent dev clients
neigh replace fd00:9::2 lladdr 02:00:00:02:00:01 nud permanent dev clients
route add 172.16.0.0/12 via 10.9.0.2
route add fd00:c::/64 via fd00:9::2
route add local 10.0.0.0/24 dev lo
route add local 10.2.0.0/15 dev lo
route add local 10.5.0.0/16 dev lo
route add local fd00::/64 dev lo
route add local fd00:2::/64 dev lo
route add local fd00:3::/64 dev lo
route add unreachable 10.7.0.0/16
route add 203.0.113.0/24 via 10.1.0.7
`)
	for n := 1; n <= 40; n++ {
		fmt.Fprintf(&s, "neigh replace 10.1.0.%d lladdr 02:00:00:01:00:%02x nud permanent dev servers\n", n, n)
		fmt.Fprintf(&s, "neigh replace fd00:1::%x lladdr 02:00:00:01:00:%02x nud permanent dev servers\n", n, n)
	}
	return s.String()
}

// markUDP makes the director mark UDP datagrams to port 7000+n with n.
func (b *testbed) markUDP() error {
	var ports []string
	for n := 1; n <= 60; n++ {
		ports = append(ports, fmt.Sprintf("%d : %d", 7000+n, n))
	}
	_, err := command(`table ip marks {
	chain prerouting {
		type filter hook prerouting priority mangle;
		udp dport 7001-7060 meta mark set udp dport map { `+strings.Join(ports, ", ")+` }
	}
}`, "nft", "-f", "-")
	return err
}

// ipvsadm runs a command as one writes it in a shell. If the kernel refuses it, that is part
// of the recording and not an error.
func (b *testbed) ipvsadm(line string) string {
	out, err := command("", "ipvsadm", strings.Fields(line)...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return out
}

// sysctl sets one of IPVS's parameters.
func (b *testbed) sysctl(name string, value int) error {
	return setSysctl("ipv4/vs/"+name, fmt.Sprint(value))
}

func setSysctl(name, value string) error {
	if err := os.WriteFile("/proc/sys/net/"+name, []byte(value), 0); err != nil {
		return fmt.Errorf("recording: %w", err)
	}
	return nil
}

// command runs a program with a text as its input and returns its output.
func command(input, program string, args ...string) (string, error) {
	cmd := exec.Command(program, args...)
	var complaints strings.Builder
	cmd.Stdin, cmd.Stderr = strings.NewReader(input), &complaints
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("recording: %s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(complaints.String()))
	}
	return string(out), nil
}
