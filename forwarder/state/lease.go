package state

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// InUseError is the error for a state that another process has leased.
type InUseError struct {
	Where string
	PID   int // as that process knows itself; 0: unknown
}

func (e *InUseError) Error() string {
	who := "another process"
	if e.PID != 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("state: %s is in use by %s", e.Where, who)
}

// lease is a lock on a file (flock(2)), on an open file description that no other
// process gets: it ends with the process, however that ends.
type lease struct{ file *os.File }

// leaseStep is how often the lease is tried while another process has it.
const leaseStep = time.Millisecond

// take waits for the lease.
func (l *lease) take(p place, wait time.Duration) error {
	for end := time.Now().Add(wait); ; time.Sleep(leaseStep) {
		f, err := p.openLock()
		if err != nil {
			return err
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil && sameLock(p, f):
			l.file = f
			_ = f.Truncate(0)
			_, _ = f.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0) // only for messages
			return nil
		case err == nil: // it was removed meanwhile
		case !errors.Is(err, unix.EWOULDBLOCK):
			f.Close()
			return fmt.Errorf("state: lease of %s: %w", p, err)
		case time.Now().After(end):
			err := &InUseError{Where: p.String(), PID: holder(f)}
			f.Close()
			return err
		}
		f.Close()
	}
}

// sameLock reports whether a locked file is still the place's.
func sameLock(p place, f *os.File) bool {
	now, err := p.openLock()
	if err != nil {
		return false
	}
	defer now.Close()
	a, errA := f.Stat()
	b, errB := now.Stat()
	return errA == nil && errB == nil && os.SameFile(a, b)
}

// holder returns the process that has the lease, 0 if it has not said so.
func holder(f *os.File) int {
	var b [20]byte
	n, _ := f.ReadAt(b[:], 0)
	pid, _ := strconv.Atoi(strings.TrimSpace(string(b[:n])))
	return pid
}

func (l *lease) release() error {
	if l.file == nil {
		return nil
	}
	f := l.file
	l.file = nil
	return f.Close()
}
