package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// DefaultDir returns the directory of this network namespace's director, which need not
// be there yet: in /run/uvs for root and in $XDG_RUNTIME_DIR/uvs for others. Where that
// is not in memory it is in /dev/shm, if that is. name sets several directors of a
// network namespace apart; it can be empty. The error says why there is no such place.
func DefaultDir(name string) (string, error) {
	root, err := defaultRoot()
	if err != nil {
		return "", err
	}
	forget(root)
	dir := Namespace()
	if name != "" {
		dir += "-" + name
	}
	return filepath.Join(root, dir), nil
}

func defaultRoot() (string, error) {
	var slow string
	var errs []error
	for _, root := range roots() {
		if err := os.MkdirAll(root, 0o755); err != nil {
			errs = append(errs, err)
			continue
		}
		if err := errors.Join(unix.Access(root, unix.W_OK|unix.X_OK), ownDirectory(root)); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", root, err))
			continue
		}
		if onTmpfs(root) {
			return root, nil
		}
		if slow == "" {
			slow = root
		}
	}
	if slow == "" {
		return "", fmt.Errorf("state: no place for it: %w", errors.Join(errs...))
	}
	return slow, nil
}

// roots are the directories for states, the best first.
func roots() (all []string) {
	if os.Geteuid() == 0 {
		all = append(all, "/run/uvs")
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		all = append(all, filepath.Join(dir, "uvs"))
	}
	return append(all, fmt.Sprintf("/dev/shm/uvs-%d", os.Geteuid()))
}

const (
	// forgottenLast is how many states of network namespaces without a director are
	// kept, and forgottenAfter for how long at least: a namespace that is gone never
	// comes back, but from here it cannot be seen whether one is.
	forgottenLast  = 64
	forgottenAfter = time.Hour
)

// forget removes the oldest states in a root, if there are many.
func forget(root string) {
	entries, err := os.ReadDir(root)
	if err != nil || len(entries) <= forgottenLast {
		return
	}
	type old struct {
		path string
		at   time.Time
	}
	var all []old
	for _, e := range entries {
		path := filepath.Join(root, e.Name())
		if info, err := os.Lstat(filepath.Join(path, lockName)); err == nil && e.IsDir() {
			all = append(all, old{path, info.ModTime()})
		}
	}
	slices.SortFunc(all, func(a, b old) int { return a.at.Compare(b.at) })
	for len(all) > forgottenLast && time.Since(all[0].at) > forgottenAfter {
		removeUnused(all[0].path)
		all = all[1:]
	}
}

// removeUnused removes a state that no process has leased.
func removeUnused(path string) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return
	}
	d := &directory{path, root}
	defer d.close()
	var l lease
	if l.take(d, leaseStep) != nil {
		return
	}
	defer l.release()
	_ = d.remove()
}
