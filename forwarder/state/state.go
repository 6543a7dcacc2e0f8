// Package state keeps what a director must not lose when it is killed: files in
// memory that the next process finds as they were, without a copy and without a
// periodic dump.
//
// A State is a directory, on tmpfs, with these files:
//
//	lock      the lease: one process writes at a time
//	identity  layout, boot, network namespace, owner and age; written once
//	counters  fixed places for counters (Slot, Counter), mapped
//	config    a log of records (Commit, Records)
//	…         mappings of others (Mapping, Create): the connection table
//
// Without a directory the files are memory files (memfd_create(2)): whoever keeps
// their descriptors can hand them to the next process. Both ways are one code.
//
// What is read is believed only if it can be true: this layout, boot, network
// namespace and owner, whole, with the checksums right. Anything else is Refused by
// name and set aside, and the State is empty. A kill at any moment leaves what is
// believed, with each Commit whole or not begun.
//
// A nil *State keeps nothing and works otherwise. Methods are safe for concurrent
// use unless they say otherwise.
package state

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"sync"
	"time"
)

// Layout is the number of the files' layout. It changes when a build could misread
// the files of another: see identity.check.
const Layout = 1

// Names of the files.
const (
	lockName     = "lock"
	identityName = "identity"
	countersName = "counters"
	configName   = "config"
)

// Refused is why something that was there is not believed.
type Refused struct {
	File string // its name in the directory
	Why  string
}

func (r *Refused) Error() string { return "state: " + r.File + ": " + r.Why }

// refuse returns a Refused with a formatted reason.
func refuse(file, why string, args ...any) error { return &Refused{file, fmt.Sprintf(why, args...)} }

// Options say which state to open.
type Options struct {
	// Dir is the directory's path; it is made if it is not there. Empty: memory
	// files. Kept are those that an earlier process had, by name; Open takes them over.
	// Keep, if set, is called for each that is made, or made anew, and borrows the file.
	Dir  string
	Kept map[string]*os.File
	Keep func(name string, f *os.File) error
	// Whole makes a state that cannot be believed an error, a *Refused, and leaves it as it
	// is; otherwise it is set aside. And unless Confirm is called, the next Open finds the
	// files that Create has replaced.
	Whole bool
	// Wait is how long to wait for the lease of a process that is ending; 0: 2 s.
	Wait time.Duration
	// Clock is a clock that every process reads alike; nil: the host's monotonic one. As
	// the kernel's timers it stands still while the host is suspended, and nobody sets it.
	Clock func() time.Duration
	Log   *slog.Logger // nil is silence
}

// State is what one director keeps.
type State struct {
	place   place
	lease   lease
	clock   func() time.Duration
	log     *slog.Logger
	began   time.Duration // on the clock
	adopted bool
	whole   bool // until Confirm

	mu       sync.Mutex
	counters *counters
	records  *records
	files    []*File // mapped for others
	lacking  bool    // the last Commit failed
}

// Open takes the lease of a state and reads what is there. What cannot be believed is
// set aside and logged, and the state is empty then. The error is an *InUseError if
// another process has the lease.
func Open(o Options) (*State, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = monotonic
	}
	if o.Wait == 0 {
		o.Wait = 2 * time.Second
	}
	p, err := o.place()
	if err != nil {
		return nil, err
	}
	s := &State{place: p, clock: o.Clock, log: o.Log, whole: o.Whole}
	if err := s.lease.take(p, o.Wait); err != nil {
		p.close()
		return nil, err
	}
	err = p.restore()
	if err == nil {
		err = s.load(o.Whole)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (o *Options) place() (place, error) {
	if o.Dir == "" {
		return &memory{files: maps.Clone(o.Kept), keep: o.Keep}, nil
	}
	return openDirectory(o.Dir, o.Log)
}

// load reads what is there, or makes it.
func (s *State) load(whole bool) error {
	err := s.read()
	var refused *Refused
	switch {
	case errors.As(err, &refused) && !whole:
		return s.SetAside(err)
	case err != nil:
		return err
	}
	return nil
}

// read adopts what is there; if nothing is, it makes an empty state.
func (s *State) read() error {
	id, err := readIdentity(s.place, s.clock())
	if err != nil {
		return err
	}
	if id == nil {
		return s.makeNew()
	}
	s.began = time.Duration(id.Began)
	if s.counters, err = openCounters(s.place); err != nil {
		return err
	}
	if s.counters == nil {
		return s.finish()
	}
	if s.records, err = openRecords(s.place, s.counters); err != nil {
		return err
	}
	s.adopted = true
	return nil
}

// makeNew makes an empty state where nothing may be.
func (s *State) makeNew() error {
	if names, err := s.place.names(); err != nil || len(names) > 0 {
		return errors.Join(err, refuse(identityName, "it is missing beside %q", names))
	}
	s.began = s.clock()
	if err := writeIdentity(s.place, s.began); err != nil {
		return err
	}
	return s.fill()
}

// finish fills a state whose process was killed when it had only begun.
func (s *State) finish() error {
	names, err := s.place.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if name != identityName && name != configName {
			return refuse(countersName, "it is missing")
		}
	}
	return s.fill()
}

// fill makes the files of a state that has an identity only.
func (s *State) fill() (err error) {
	if s.records, err = newRecords(s.place); err != nil {
		return err
	}
	if s.counters, err = newCounters(s.place); err != nil {
		return err
	}
	s.records.commit = s.counters.commit()
	return nil
}

// SetAside moves away what cannot be believed, says so in one line, and leaves the
// state empty: nobody may use anything that came from it before. It returns why that
// failed. Memory files are closed instead.
func (s *State) SetAside(why error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unmap()
	to, err := s.place.setAside()
	if err != nil {
		return fmt.Errorf("%w, and it cannot be set aside: %w", why, err)
	}
	s.log.Warn("the state was refused: the director starts empty", "event", "state-refused", "why", why, "kept as", to)
	s.adopted = false
	return s.makeNew()
}

// Confirm says that this process goes on: what Create has replaced is not needed any longer.
func (s *State) Confirm() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.whole = false
	return s.place.confirm()
}

// Adopted reports whether the state was there, and was not refused since.
func (s *State) Adopted() bool { return s != nil && s.adopted }

// Where returns the directory, or "memory files".
func (s *State) Where() string { return s.place.String() }

// Dir returns the path of the directory, "" if there is none.
func (s *State) Dir() string {
	if s == nil {
		return ""
	}
	if d, ok := s.place.(*directory); ok {
		return d.path
	}
	return ""
}

// Began returns when the state began, on its clock; 0 for a nil State.
func (s *State) Began() time.Duration {
	if s == nil {
		return 0
	}
	return s.began
}

// Age returns the time since the state began. It goes on while no process runs. For a
// nil State it is 0.
func (s *State) Age() time.Duration {
	if s == nil {
		return 0
	}
	return s.clock() - s.began
}

// Release gives up the lease, so that another process can take over. Until Retake
// nothing may be written.
func (s *State) Release() error {
	if s == nil {
		return nil
	}
	return s.lease.release()
}

// Retake takes the lease again, if no other process has it, or gives it up in time.
func (s *State) Retake(wait time.Duration) error {
	if s == nil {
		return nil
	}
	return s.lease.take(s.place, wait)
}

// Close gives up the lease and the Files that are mapped. Counters and Slots may still
// be read: their memory stays until the process ends. The files stay.
func (s *State) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unmap()
	return errors.Join(s.lease.release(), s.place.close())
}

// Unmap gives back the memory of counters and Slots after Close. Nobody may read them
// any longer. A process that opens one state need not call it.
func (s *State) Unmap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counters.unmap()
}

// Remove is Close for a state that nobody needs any longer: the files go as well.
func (s *State) Remove() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease.file == nil { // another process may have taken over
		return nil
	}
	s.unmap()
	return errors.Join(s.place.remove(), s.lease.release(), s.place.close())
}

func (s *State) unmap() {
	for _, f := range s.files {
		_ = f.Close() // a mapping of ours can always be undone
	}
	s.files = nil
	s.counters.close()
	s.records.close()
}
