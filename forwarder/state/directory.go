package state

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// directory is a place with a path.
type directory struct {
	path string
	root *os.Root
}

const (
	// badPrefix begins the names of folders for what was set aside.
	badPrefix = "bad-"
	// badKept is how many of them stay, the newest, in a directory and beside it.
	badKept = 2
	// badTime is the rest of their names.
	badTime = "20060102T150405.000000"
	// newSuffix ends the name of a file that is not whole yet.
	newSuffix = ".new"
	// sparedSuffix ends the name of a file that comes back unless Confirm is called.
	sparedSuffix = ".before"
)

// openDirectory opens a directory that is the director's own, and makes it if it is
// not there.
func openDirectory(path string, log *slog.Logger) (*directory, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("state: %w", err)
	}
	err := ownDirectory(path)
	if err != nil {
		if err = replaceDirectory(path, err, log); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	if !onTmpfs(path) {
		log.Warn("the state is not on tmpfs: the file system writes it to its disk again and again, which can delay packets", "dir", path)
	}
	return &directory{path, root}, nil
}

// ownDirectory returns an error if others could have put files into a directory.
func ownDirectory(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return own(path, info, info.IsDir(), "directory", 0o022)
}

// own returns a Refused unless a file is of the right kind, belongs to this user and
// has none of the permissions that only others need.
func own(name string, info fs.FileInfo, kind bool, want string, others fs.FileMode) error {
	uid := info.Sys().(*syscall.Stat_t).Uid
	switch {
	case !kind:
		return refuse(name, "it is no %s", want)
	case int(uid) != os.Geteuid():
		return refuse(name, "it belongs to user %d, not to %d, who runs the director", uid, os.Geteuid())
	case info.Mode().Perm()&others != 0:
		return refuse(name, "its mode %04o lets others in", info.Mode().Perm())
	}
	return nil
}

// replaceDirectory renames a state directory of somebody else and makes a new one. A
// directory that does not look like one stays: the user has mistyped its name.
func replaceDirectory(path string, why error, log *slog.Logger) error {
	if _, err := os.Lstat(filepath.Join(path, identityName)); err != nil {
		return fmt.Errorf("%w; a state directory is the director's own", why)
	}
	bad := path + "." + badName()
	if err := os.Rename(path, bad); err != nil {
		return fmt.Errorf("%w, and it cannot be set aside: %w", why, err)
	}
	log.Warn("the state was refused: the director starts empty", "event", "state-refused", "why", why, "kept as", bad)
	forgetBeside(path)
	if err := os.Mkdir(path, 0o700); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

// forgetBeside removes the oldest of what replaceDirectory has set aside. What this user may
// not remove stays.
func forgetBeside(path string) {
	entries, err := os.ReadDir(filepath.Dir(path)) // sorted by name, and so by time
	if err != nil {
		return
	}
	var old []string
	for _, e := range entries {
		text, ok := strings.CutPrefix(e.Name(), filepath.Base(path)+"."+badPrefix)
		if _, err := time.Parse(badTime, text); ok && err == nil {
			old = append(old, filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
	for ; len(old) > badKept; old = old[1:] {
		_ = os.RemoveAll(old[0])
	}
}

func badName() string { return badPrefix + time.Now().UTC().Format(badTime) }

// onTmpfs reports whether a path is in memory. What it cannot find out it takes for
// true.
func onTmpfs(path string) bool {
	var s unix.Statfs_t
	return unix.Statfs(path, &s) != nil || s.Type == unix.TMPFS_MAGIC || s.Type == unix.RAMFS_MAGIC
}

func (d *directory) String() string { return d.path }

func (d *directory) open(name string) (*os.File, error) {
	info, err := d.root.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, refuse(name, "%v", err)
	}
	if err := own(name, info, info.Mode().IsRegular(), "regular file", 0o077); err != nil {
		return nil, err
	}
	f, err := d.root.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, refuse(name, "%v", err)
	}
	return f, nil
}

func (d *directory) create(name string) (*os.File, error) {
	if err := d.root.Remove(name + newSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("state: %w", err)
	}
	f, err := d.root.OpenFile(name+newSuffix, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return f, nil
}

func (d *directory) put(name string, _ *os.File) error {
	if err := d.root.Rename(name+newSuffix, name); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

func (d *directory) spare(name string) error {
	err := d.root.Link(name, name+sparedSuffix)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("state: %w", err)
	}
	return nil
}

func (d *directory) confirm() error {
	return d.eachSpared(func(name string) error { return d.root.Remove(name + sparedSuffix) })
}

func (d *directory) restore() error {
	return d.eachSpared(func(name string) error { return d.root.Rename(name+sparedSuffix, name) })
}

// eachSpared calls do with the names of the files that are spared.
func (d *directory) eachSpared(do func(name string) error) error {
	all, err := d.list(func(name string) bool { return strings.HasSuffix(name, sparedSuffix) })
	for _, name := range all {
		if derr := do(strings.TrimSuffix(name, sparedSuffix)); derr != nil {
			err = errors.Join(err, fmt.Errorf("state: %w", derr))
		}
	}
	return err
}

func (d *directory) openLock() (*os.File, error) {
	f, err := d.root.OpenFile(lockName, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	return f, nil
}

func (d *directory) names() (all []string, err error) {
	return d.list(func(name string) bool {
		return name != lockName && !strings.HasPrefix(name, badPrefix) && !strings.HasSuffix(name, newSuffix) && !strings.HasSuffix(name, sparedSuffix)
	})
}

func (d *directory) list(wanted func(string) bool) (all []string, err error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	for _, e := range entries {
		if wanted(e.Name()) {
			all = append(all, e.Name())
		}
	}
	return all, nil
}

func (d *directory) setAside() (string, error) {
	names, err := d.names()
	if err != nil {
		return "", err
	}
	to := badName()
	if err := d.root.Mkdir(to, 0o700); err != nil {
		return "", err
	}
	for _, name := range names {
		if err := d.root.Rename(name, filepath.Join(to, name)); err != nil {
			return "", err
		}
	}
	old, err := d.list(func(name string) bool { return strings.HasPrefix(name, badPrefix) }) // sorted by time
	if err != nil {
		return "", err
	}
	for len(old) > badKept {
		if err := d.root.RemoveAll(old[0]); err != nil {
			return "", err
		}
		old = old[1:]
	}
	return filepath.Join(d.path, to), nil
}

// remove removes the directory, unless somebody keeps other things there.
func (d *directory) remove() error {
	for _, name := range []string{configName, countersName} {
		if err := d.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("state: %w", err)
		}
	}
	all, err := d.list(func(name string) bool { return name != lockName && name != identityName })
	if err != nil {
		return err
	}
	for _, name := range append(all, identityName, lockName) {
		if err := d.root.RemoveAll(name); err != nil {
			return fmt.Errorf("state: %w", err)
		}
	}
	_ = os.Remove(d.path) // the place may have been prepared for the director
	return nil
}

func (d *directory) close() error { return d.root.Close() }
