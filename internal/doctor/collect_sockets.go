package doctor

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// States of sockets in /proc/net/tcp and udp (include/net/tcp_states.h).
const (
	stateSynSent = "02"
	stateClose   = "07" // UDP: not connected
	stateListen  = "0A"
)

// readSockets reads who listens, who waits for an answer, and whether something receives
// IP-in-IP.
func (h *Host) readSockets() {
	waiting := map[string]netip.AddrPort{} // by inode
	for _, proto := range []string{"tcp", "tcp6", "udp", "udp6"} {
		for _, f := range socketLines("/proc/net/" + proto) {
			local, remote := endpoint(f[1]), endpoint(f[2])
			name := strings.TrimSuffix(proto, "6")
			switch state := f[3]; {
			case name == "tcp" && state == stateListen, name == "udp" && state == stateClose:
				h.Listeners = append(h.Listeners, Listener{name, local})
			case name == "tcp" && state == stateSynSent:
				waiting[f[9]] = remote
			}
		}
	}
	h.Decap = receivesTunnels() || slices.ContainsFunc(h.Links, func(l Link) bool {
		return l.Up && (l.Kind == "ipip" || l.Kind == "ip6tnl")
	})
	h.readClients(waiting)
}

// socketLines returns the fields of each socket in a file of /proc/net.
func socketLines(file string) (lines [][]string) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil // a kernel without IPv6
	}
	for i, line := range strings.Split(string(b), "\n") {
		if f := strings.Fields(line); i > 0 && len(f) > 9 {
			lines = append(lines, f)
		}
	}
	return lines
}

// receivesTunnels reports whether a raw socket takes IPv4 in IP (protocol 4), as uvs decap
// has one.
func receivesTunnels() bool {
	for _, file := range []string{"/proc/net/raw", "/proc/net/raw6"} {
		for _, f := range socketLines(file) {
			if proto := endpoint(f[1]).Port(); proto == unix.IPPROTO_IPIP || proto == unix.IPPROTO_IPV6 {
				return true
			}
		}
	}
	return false
}

// endpoint reads an address and port as /proc/net has them: 32-bit words in host order, in
// hexadecimal.
func endpoint(text string) netip.AddrPort {
	addr, port, _ := strings.Cut(text, ":")
	b, err := hex.DecodeString(addr)
	p, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil || len(b)%4 != 0 {
		return netip.AddrPort{}
	}
	for i := 0; i < len(b); i += 4 {
		binary.BigEndian.PutUint32(b[i:], binary.NativeEndian.Uint32(b[i:]))
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a.Unmap(), uint16(p))
}

// readClients finds the processes of sockets that wait for an answer, by inode.
func (h *Host) readClients(waiting map[string]netip.AddrPort) {
	if len(waiting) == 0 {
		return
	}
	files, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, f := range files {
		to, err := os.Readlink(f)
		inode, socket := strings.CutPrefix(strings.TrimSuffix(to, "]"), "socket:[")
		remote, ok := waiting[inode]
		if err != nil || !socket || !ok {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(f, "/")[2])
		h.Clients = append(h.Clients, ClientSocket{Remote: remote, PID: pid, Command: commandOf(pid)})
		delete(waiting, inode)
	}
	for _, remote := range waiting { // processes that we may not look at
		h.Clients = append(h.Clients, ClientSocket{Remote: remote})
	}
}

func commandOf(pid int) string {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return strings.TrimSpace(strings.ReplaceAll(string(b), "\x00", " "))
}

// listens reports whether a packet for an address and port reaches a listener, and which
// ports of the protocol listeners have at all.
func (h *Host) listens(proto string, a netip.Addr, port uint16) (reached bool, at []Listener) {
	for _, l := range h.Listeners {
		if l.Proto != proto || l.Addr.Addr().IsLoopback() {
			continue
		}
		at = append(at, l)
		if l.Addr.Port() == port && (l.Addr.Addr() == a || l.Addr.Addr().IsUnspecified()) {
			reached = true
		}
	}
	return reached, at
}
