package state

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// Network namespaces that are gone leave states behind: of many the oldest go, but none
// that is in use.
func TestTheOldestOfManyStatesAreForgotten(t *testing.T) {
	root := t.TempDir()
	dir := func(i int) string { return filepath.Join(root, fmt.Sprint(i)) }
	used := open(t, dir(0))
	defer used.Close()
	for i := range forgottenLast + 10 {
		if i > 0 {
			must(t, os.Mkdir(dir(i), 0o700))
			must(t, os.WriteFile(filepath.Join(dir(i), lockName), nil, 0o600))
		}
		old := time.Now().Add(-2*forgottenAfter - time.Duration(forgottenLast-i)*time.Minute)
		must(t, os.Chtimes(filepath.Join(dir(i), lockName), old, old))
	}
	forget(root)
	all, err := os.ReadDir(root)
	must(t, err)
	if len(all) != forgottenLast+1 {
		t.Errorf("%d are left, want %d and the one in use", len(all), forgottenLast)
	}
	for _, i := range []int{0, 10, forgottenLast + 9} {
		if _, err := os.Stat(dir(i)); err != nil {
			t.Error(err)
		}
	}
}

// Each user has a place of his own, and it is in memory where there is one.
func TestTheDefaultDirectoryIsOfTheNamespaceAndTheUser(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	dir, err := DefaultDir("")
	if err != nil {
		t.Skip(err)
	}
	if filepath.Base(dir) != Namespace() || Namespace() == "unknown" {
		t.Errorf("the directory is %s, of namespace %s", dir, Namespace())
	}
	if other, err := DefaultDir("second"); err != nil || other != dir+"-second" {
		t.Errorf("that of a second director is %s, %v", other, err)
	}
	must(t, own(filepath.Dir(dir), stat(t, filepath.Dir(dir)), true, "directory", 0o022))
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Lstat(path)
	must(t, err)
	return info
}

// Of states that others could have made, the last two stay beside the new one; what else is
// there is nobody's to remove.
func TestTheLastStatesOfOthersAreKept(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	other := dir + "." + badPrefix + "notes"
	must(t, os.Mkdir(other, 0o700))
	var began []string
	for range badKept + 3 {
		s := open(t, dir)
		began = append(began, fmt.Sprint(s.Began()))
		must(t, os.WriteFile(filepath.Join(dir, "began"), []byte(began[len(began)-1]), 0o600))
		must(t, s.Close())
		must(t, os.Chmod(dir, 0o777))
	}
	kept, err := filepath.Glob(dir + "." + badPrefix + "2*")
	must(t, err)
	var got []string
	for _, path := range kept {
		text, err := os.ReadFile(filepath.Join(path, "began"))
		must(t, err)
		got = append(got, string(text))
	}
	if want := began[2:4]; !slices.Equal(got, want) { // the last one is still in its place
		t.Errorf("states that began at %v are kept, want %v of %v", got, want, began)
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}
