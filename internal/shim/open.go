package shim

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"uvs/internal/proc"
)

// opens is the part of a filter that asks the supervisor about every file that a program
// opens: a filter does not see names.
var opens = block{openCalls, []bpf.Instruction{notify}}

// The folders that are /proc/net, as programs write them.
var procFolders = []string{"/proc/net/", "/proc/self/net/", "/proc/thread-self/net/"}

// longestName is how many bytes the name of one of IPVS's files takes at most, with its end.
const longestName = len("/proc/thread-self/net/ip_vs_stats_percpu") + 1

// open answers a call that opens one of IPVS's files with what uvs proc writes into it. All
// other files, and these where there is no director, the kernel opens.
func (s *supervisor) open(ctx context.Context, n notification) {
	address, flags := n.args[1], n.args[2]
	if n.number != unix.SYS_OPENAT {
		address, flags = n.args[0], n.args[1]
	}
	name := procName(int(n.pid), address)
	if name == "" || flags&unix.O_ACCMODE != unix.O_RDONLY || !s.rights.within(n.pid) || !waits(s.listener, n.id) {
		s.goOn(n)
		return
	}
	file, err := s.procFile(ctx, n, name)
	if err != nil {
		s.goOn(n)
		return
	}
	defer file.Close()
	a := addition{id: n.id, from: uint32(file.Fd())}
	if flags&unix.O_CLOEXEC != 0 {
		a.open = unix.O_CLOEXEC
	}
	if err := addFD(s.listener, a); err != nil {
		s.fail(n, err)
	}
}

// procName returns the name of the file of IPVS that the path at an address of a program's
// memory leads to, or nothing. Most paths are shorter than the longest of them, so the memory
// behind them need not be there.
func procName(pid int, address uint64) string {
	path := make([]byte, longestName)
	size := uint64(os.Getpagesize())
	first := min(uint64(len(path)), size-address%size)
	if readMemory(pid, address, path[:first]) != nil {
		return ""
	}
	if !bytes.Contains(path[:first], []byte{0}) && readMemory(pid, address+first, path[first:]) != nil {
		return ""
	}
	text, _, whole := strings.Cut(string(path), "\x00")
	for _, folder := range procFolders {
		if name, ok := strings.CutPrefix(text, folder); ok && whole && slices.Contains(proc.Names, name) {
			return name
		}
	}
	return ""
}

// procFile returns a file without a name that has the text of one of IPVS's files, at its
// beginning. It cannot be changed.
func (s *supervisor) procFile(ctx context.Context, n notification, name string) (*os.File, error) {
	ns, err := s.namespaceOf(n.pid)
	if err != nil {
		return nil, err
	}
	defer s.leave(ns)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), name)
	err = proc.Text(ctx, file, name, ns.director)
	if err == nil {
		_, err = file.Seek(0, 0)
	}
	if err == nil {
		_, err = unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("shim: %s: %w", name, err)
	}
	return file, nil
}
