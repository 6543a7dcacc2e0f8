package lab

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// Session is the kernel's session of processes that a lab was started from:
// everything that is typed in one terminal is in one session, and so is a
// script with what it calls (setsid(2), credentials(7)).
type Session struct {
	// ID is 0 if the session began outside this PID namespace: everything that
	// came in from there without a session of its own counts as one.
	ID int `json:"id"`
	// Started is when its first process started, in clock ticks since boot, which
	// distinguishes it from an older session with the same number; 0 if that process
	// has ended or is outside.
	Started uint64 `json:"started"`
	// PIDNamespace is the inode of the namespace the ID belongs to
	// (pid_namespaces(7)), 0 if that is unknown.
	PIDNamespace uint64 `json:"pid_namespace"`
}

// CurrentSession returns the session of the calling process.
func CurrentSession() Session {
	var ns unix.Stat_t
	if unix.Stat("/proc/self/ns/pid", &ns) != nil {
		return Session{}
	}
	id, err := unix.Getsid(0)
	if err != nil {
		return Session{}
	}
	return Session{ID: id, Started: processStart(id), PIDNamespace: ns.Ino}
}

// Same reports whether two sessions are the same; it is false if that is unknown.
func (s Session) Same(other Session) bool { return s.PIDNamespace != 0 && s == other }

// processStart returns when a process started, field 22 of its stat file
// (proc_pid_stat(5)), or 0 if there is none. The name in field 2 may hold any
// character.
func processStart(pid int) uint64 {
	const afterName, startTime = 3, 22
	if pid == 0 {
		return 0
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(fields) <= startTime-afterName {
		return 0
	}
	n, _ := strconv.ParseUint(string(fields[startTime-afterName]), 10, 64)
	return n
}
