package fdstore

import (
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Message is what a process tells its service manager (sd_notify(3)), as far as the keeper
// needs to know it.
type Message struct {
	Ready    bool // READY=1
	Stopping bool // STOPPING=1: its end is wanted
	MainPID  int  // MAINPID: the process that takes its place; 0: none
	Store    bool // FDSTORE=1
	Remove   bool // FDSTOREREMOVE=1
	Name     string
}

// ParseMessage returns the message in a datagram. Lines with other words are ignored.
func ParseMessage(text string) Message {
	m := Message{Name: "stored"} // what systemd calls a descriptor without a name
	for line := range strings.Lines(text) {
		word, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		switch word {
		case "READY":
			m.Ready = value == "1"
		case "STOPPING":
			m.Stopping = value == "1"
		case "MAINPID":
			m.MainPID, _ = strconv.Atoi(value)
		case "FDSTORE":
			m.Store = value == "1"
		case "FDSTOREREMOVE":
			m.Remove = value == "1"
		case "FDNAME":
			m.Name = value
		}
	}
	return m
}

// Hold does what a message of another process asks of its service manager with descriptors:
// it keeps those that came with it, or forgets those with its name. What it does not keep it
// closes.
func (s *Store) Hold(m Message, fds []int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.Remove {
		_ = s.forget(m.Name)
	}
	if err := checkName(m.Name); !m.Store || err != nil || len(fds) != 1 {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
		if m.Store && err == nil {
			err = fmt.Errorf("fdstore: %s: %d descriptors came, 1 is expected", m.Name, len(fds))
		}
		return err
	}
	s.put(m.Name, fds[0])
	return nil
}

// ToChild returns the descriptors for a process that is to get them, from number 3 on, and
// the environment that tells it so. Both are valid until the Store changes. LISTEN_PID is
// not among them: the process has no number yet.
func (s *Store) ToChild() (fds []uintptr, env []string) {
	names := s.Names("")
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		fds = append(fds, uintptr(s.kept[name].fd))
	}
	return fds, []string{"LISTEN_FDS=" + strconv.Itoa(len(fds)), "LISTEN_FDNAMES=" + strings.Join(names, ":")}
}
