// Package privilege gives up what a director does not need: all capabilities but a few
// (capabilities(7)), and the chance to get any by executing a program (prctl(2),
// PR_SET_NO_NEW_PRIVS).
//
// Capabilities belong to threads, of which Go has many, and some of them are not Go's
// if the program is linked with cgo. So one thread gives up its own and executes the
// program again, whose threads then have no more than that one.
package privilege

import (
	"fmt"
	"os"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// Director is what a director needs: packet and raw sockets, and to change addresses,
// neighbours, nftables and offload features.
var Director = Set(0).With(unix.CAP_NET_ADMIN).With(unix.CAP_NET_RAW)

// Set is a set of capabilities by number.
type Set uint64

// With returns the set with one more capability.
func (s Set) With(c int) Set { return s | 1<<c }

// Has reports whether the set has a capability.
func (s Set) Has(c int) bool { return s>>c&1 != 0 }

// tried is an environment variable with the number of a process that Keep has executed
// again, so that it does not do so for ever.
const tried = "UVS_CAPABILITIES_DROPPED"

// Keep executes the program again, with the same arguments, environment and
// descriptors, and with no capabilities but those in keep that it has now. What that
// executes gets no more either. Keep returns nil if nothing is left to drop, and an error
// if it is and cannot be dropped; then the calling goroutine alone may have fewer.
func Keep(keep Set) error {
	done, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	if err != nil {
		return fmt.Errorf("privilege: no_new_privs: %w", err)
	}
	have, err := permitted()
	if err != nil {
		return err
	}
	if done == 1 && have&^keep == 0 {
		return nil
	}
	self := strconv.Itoa(os.Getpid())
	if os.Getenv(tried) == self {
		return fmt.Errorf("privilege: %#x remain of the capabilities", uint64(have&^keep))
	}
	program, err := program()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := drop(have, keep); err != nil {
		return err
	}
	return fmt.Errorf("privilege: execute %s: %w", program, unix.Exec(program, os.Args, append(os.Environ(), tried+"="+self)))
}

// drop takes capabilities from the calling thread, and from what it executes. Root gets
// by execution what the bounding set has, another user what the ambient set has.
func drop(have, keep Set) error {
	if have.Has(unix.CAP_SETPCAP) {
		for c := range unix.CAP_LAST_CAP + 1 {
			if keep.Has(c) {
				continue
			}
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, uintptr(c), 0, 0, 0); err != nil && err != unix.EINVAL {
				return fmt.Errorf("privilege: bounding set: %w", err) // EINVAL: the kernel is older than the capability
			}
		}
	}
	keep &= have
	inherited := keep
	if os.Geteuid() == 0 {
		inherited = 0
	}
	if err := setThread(keep, inherited); err != nil {
		return err
	}
	for c := range unix.CAP_LAST_CAP + 1 {
		if !inherited.Has(c) {
			continue
		}
		if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_RAISE, uintptr(c), 0, 0); err != nil {
			return fmt.Errorf("privilege: ambient set: %w", err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("privilege: no_new_privs: %w", err)
	}
	return nil
}

// program returns a path of this program: the one that it was started by, which its
// process is then named after, unless another file has taken its place.
func program() (string, error) {
	const self = "/proc/self/exe"
	running, err := os.Stat(self)
	if err != nil {
		return "", fmt.Errorf("privilege: %w", err)
	}
	path, err := os.Executable()
	if err != nil {
		return self, nil
	}
	if there, err := os.Stat(path); err != nil || !os.SameFile(there, running) {
		return self, nil
	}
	return path, nil
}

// permitted returns what the calling thread may have.
func permitted() (Set, error) {
	header, data := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("privilege: capget: %w", err)
	}
	return Set(data[0].Permitted) | Set(data[1].Permitted)<<32, nil
}

// setThread sets what the calling thread has, and what it passes on to programs.
func setThread(have, inherited Set) error {
	header, data := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, [2]unix.CapUserData{}
	for i := range data {
		word := func(s Set) uint32 { return uint32(s >> (32 * i)) }
		data[i] = unix.CapUserData{Effective: word(have), Permitted: word(have), Inheritable: word(inherited)}
	}
	if err := unix.Capset(&header, &data[0]); err != nil {
		return fmt.Errorf("privilege: capset: %w", err)
	}
	return nil
}
