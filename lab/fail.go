package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// failures are the operations that break a node and mend it.
func (s *supervisor) failures() map[string]func(*host, *request) error {
	return map[string]func(*host, *request) error{
		opCrash:  func(h *host, r *request) error { return s.crash(h, r.Name) },
		opCable:  func(h *host, r *request) error { return s.cable(h, r.Name, r.Up) },
		opFail:   func(h *host, _ *request) error { return s.fail(h) },
		opReturn: func(h *host, _ *request) error { return s.comeBack(h) },
	}
}

// crash kills the process of a service, or if it has children those: a keeper's director.
func (s *supervisor) crash(h *host, service string) error {
	i := slices.IndexFunc(s.services, func(r *running) bool { return r.host == h && r.Name == service })
	if i < 0 {
		return fmt.Errorf("lab: %s has no service %q", h.Name, service)
	}
	r := s.services[i]
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.alive() {
		return fmt.Errorf("lab: %s: %s is not running", h.Name, service)
	}
	children := childrenOf(r.proc.pid)
	if len(children) == 0 {
		children = []int{r.proc.pid}
	}
	for _, pid := range children {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			return fmt.Errorf("lab: %s: kill %s: %w", h.Name, service, err)
		}
	}
	return nil
}

// childrenOf returns the processes whose parent a process is (proc_pid_stat(5)).
func childrenOf(parent int) (all []int) {
	for _, pid := range processes() {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		_, rest, _ := strings.Cut(string(b), ") ")
		if f := strings.Fields(rest); len(f) > 1 && f[1] == strconv.Itoa(parent) {
			all = append(all, pid)
		}
	}
	return all
}

// processes returns the process IDs of the lab.
func processes() (all []int) {
	dirs, _ := filepath.Glob("/proc/[1-9]*")
	for _, d := range dirs {
		if pid, err := strconv.Atoi(filepath.Base(d)); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// cable switches the far end of a node's interface, which takes the carrier from it or
// gives it back.
func (s *supervisor) cable(h *host, iface string, up bool) error {
	words := "down"
	if up {
		words = "up"
	}
	_, err := s.changeLink(&LinkChange{Link: h.Name + ":" + iface, Words: words})
	return err
}

func (s *supervisor) cables(h *host, up bool) error {
	var failed error
	for i := range h.Interfaces {
		failed = errors.Join(failed, s.plug(h, i, up))
	}
	return failed
}

// plug takes the carrier from an interface, or gives it back unless the cable was pulled
// besides.
func (s *supervisor) plug(h *host, iface int, up bool) error {
	at := leg{slices.Index(s.hosts, h), iface}
	if s.Topology.direct(h.Interfaces[iface].Network) {
		return fmt.Errorf("lab: %s: the links of a measurement have no cable to pull", h.Name)
	}
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	if up && s.linkAt(at).down {
		return nil
	}
	nl, err := netlink.NewHandle()
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	defer nl.Close()
	return setLink(nl, s.Topology.portName(at), up)
}

func setLink(nl *netlink.Handle, name string, up bool) error {
	l, err := nl.LinkByName(name)
	if err == nil && up {
		err = nl.LinkSetUp(l)
	} else if err == nil {
		err = nl.LinkSetDown(l)
	}
	if err != nil {
		return fmt.Errorf("lab: cable: %s: %w", name, err)
	}
	return nil
}

// buryAfter is how long the processes of a node that failed stand still before they are killed.
// The nodes share a kernel: while it closes their rings it holds the lock that another director
// needs to take over, which would not wait for that on a machine of its own.
const buryAfter = time.Second

// fail takes the cables from a node and stops its processes where they are.
func (s *supervisor) fail(h *host) error {
	s.failing.Lock()
	defer s.failing.Unlock()
	if h.failed != nil {
		return fmt.Errorf("lab: %s has failed already", h.Name)
	}
	if err := errors.Join(s.cables(h, false), s.signalAll(h, unix.SIGSTOP)); err != nil {
		return err
	}
	failed := make(chan error, 1)
	h.failed = failed
	time.AfterFunc(buryAfter, func() { failed <- s.bury(h) })
	return nil
}

// bury kills the processes of a node that failed, and removes what only memory held: the state
// of its director, addresses that programs gave it.
func (s *supervisor) bury(h *host) error {
	if err := s.signalAll(h, unix.SIGKILL); err != nil {
		return err
	}
	for _, r := range s.services {
		if r.host == h {
			r.kill() // has the reaper take note of its end
		}
	}
	if err := os.RemoveAll(filepath.Join(h.Directory(), stateName)); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return h.forgetAddresses()
}

// comeBack gives a node that failed its cables and starts it with its files as they were.
func (s *supervisor) comeBack(h *host) error {
	s.failing.Lock()
	defer s.failing.Unlock()
	if h.failed == nil {
		return fmt.Errorf("lab: %s has not failed", h.Name)
	}
	if err := <-h.failed; err != nil {
		return err
	}
	h.failed = nil
	if err := errors.Join(h.writeFiles(), s.cables(h, true)); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return s.startServicesOf(h)
}

// signalAll sends a signal to what runs in the network namespace of a node. After SIGKILL it
// returns when nothing does.
func (s *supervisor) signalAll(h *host, sig unix.Signal) error {
	own, err := os.Stat(filepath.Join(netnsDir, h.Name))
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	for again := true; again; time.Sleep(time.Millisecond) {
		again = false
		for _, pid := range processes() {
			ns, err := os.Stat(fmt.Sprintf("/proc/%d/ns/net", pid))
			if pid == os.Getpid() || err != nil || !os.SameFile(own, ns) {
				continue // what has ended has no namespace any more
			}
			if unix.Kill(pid, sig) == nil && sig == unix.SIGKILL {
				again = true
			}
		}
	}
	return nil
}

// forgetAddresses removes the addresses that are not the topology's.
func (h *host) forgetAddresses() error {
	for i, iface := range h.Interfaces {
		l, err := h.nl.LinkByName(ethName(i))
		if err != nil {
			return fmt.Errorf("lab: %w", err)
		}
		addrs, err := h.nl.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return fmt.Errorf("lab: %w", err)
		}
		for _, a := range addrs {
			ip, _ := netip.AddrFromSlice(a.IP)
			ip = ip.Unmap()
			if isEUI64(ip) || slices.ContainsFunc(iface.Addresses, func(o Address) bool { return o.Prefix.Addr() == ip }) {
				continue
			}
			if err := h.nl.AddrDel(l, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
				return fmt.Errorf("lab: %w", err)
			}
		}
	}
	return nil
}

// isEUI64 reports whether an address is one that an interface makes of its MAC address
// (RFC 4291 appendix A).
func isEUI64(a netip.Addr) bool {
	b := a.As16()
	return a.IsLinkLocalUnicast() && a.Is6() && b[11] == 0xff && b[12] == 0xfe
}
