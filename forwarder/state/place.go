package state

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// place is where the files are. Its methods are called with State.mu held, or before
// anybody else has the State.
type place interface {
	fmt.Stringer
	// open opens a file for reading and writing. It returns nil if there is none, and
	// a Refused for one that others could have made.
	open(name string) (*os.File, error)
	// create returns a new empty file, which has its name from put on.
	create(name string) (*os.File, error)
	put(name string, f *os.File) error
	// spare has the next Open find a file that is about to be replaced, unless confirm comes
	// before: restore puts back what was spared.
	spare(name string) error
	confirm() error
	restore() error
	// openLock opens the file of the lease, which is made if need be. Each call
	// returns an open file description of its own.
	openLock() (*os.File, error)
	// names returns what is there besides the lease and what was set aside.
	names() ([]string, error)
	// setAside moves all of it away and says where it is now.
	setAside() (string, error)
	remove() error
	close() error
}

// memory is a place without a directory: memory files.
type memory struct {
	files map[string]*os.File
	keep  func(name string, f *os.File) error // nil: nobody wants to
}

func (m *memory) String() string { return "memory files" }

func (m *memory) open(name string) (*os.File, error) {
	f := m.files[name]
	if f == nil {
		return nil, nil
	}
	return duplicate(f)
}

// duplicate returns another descriptor of the same file, so that each can be closed.
func duplicate(f *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("state: %s: %w", f.Name(), err)
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}

func (m *memory) create(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate("uvs-"+name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("state: memory file: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

func (m *memory) put(name string, f *os.File) error {
	d, err := duplicate(f)
	if err != nil {
		return err
	}
	if old := m.files[name]; old != nil {
		old.Close()
	}
	if m.files == nil {
		m.files = map[string]*os.File{}
	}
	m.files[name] = d
	if m.keep == nil {
		return nil
	}
	return m.keep(name, d)
}

// Memory files stay with whoever handed them over.
func (m *memory) spare(string) error { return nil }
func (m *memory) confirm() error     { return nil }
func (m *memory) restore() error     { return nil }

func (m *memory) openLock() (*os.File, error) {
	if m.files[lockName] == nil {
		f, err := m.create(lockName)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if err := m.put(lockName, f); err != nil {
			return nil, err
		}
	}
	// A descriptor that was handed over shares its locks with the one who keeps it.
	return os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", m.files[lockName].Fd()), os.O_RDWR, 0)
}

func (m *memory) names() ([]string, error) {
	all := slices.Sorted(maps.Keys(m.files))
	return slices.DeleteFunc(all, func(n string) bool { return n == lockName }), nil
}

func (m *memory) setAside() (string, error) { return "nothing", m.remove() }

func (m *memory) remove() error {
	for name, f := range m.files {
		if name != lockName {
			f.Close()
			delete(m.files, name)
		}
	}
	return nil
}

func (m *memory) close() error {
	var errs []error
	for _, f := range m.files {
		errs = append(errs, f.Close())
	}
	m.files = nil
	return errors.Join(errs...)
}
