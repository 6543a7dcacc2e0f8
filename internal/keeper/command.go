package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// commandOf returns the command that a process runs, with its directory and environment. That
// it took over from another does not belong to it. A program that was deleted is that which has
// its path now, unless others could have put it there: then it is the keeper's own.
func commandOf(pid int) (Command, error) {
	proc := fmt.Sprintf("/proc/%d/", pid)
	path, err := os.Readlink(proc + "exe")
	if err != nil {
		return Command{}, err
	}
	line, err := commandLine(proc)
	if err != nil {
		return Command{}, err
	}
	c := Command{Path: path, Args: Without(words(line), "replace")}
	if path, deleted := strings.CutSuffix(path, " (deleted)"); deleted {
		if c.Path = path; !ownPath(path) {
			c.Path = "/proc/self/exe"
		}
	}
	c.Dir, _ = os.Readlink(proc + "cwd")
	if info, err := os.Stat(c.Dir); err != nil || !info.IsDir() { // it may be gone, or out of reach
		c.Dir = ""
	}
	if env, err := os.ReadFile(proc + "environ"); err == nil && len(env) > 0 {
		c.Env = words(env)
	}
	return c, nil
}

// commandLine reads a process's command line. In the middle of execve(2), when whoever started
// the process knows already that it runs, there is none for a moment.
func commandLine(proc string) ([]byte, error) {
	for range 100 {
		line, err := os.ReadFile(proc + "cmdline")
		if err != nil || len(line) > 0 {
			return line, err
		}
		time.Sleep(10 * time.Millisecond)
	}
	return nil, fmt.Errorf("keeper: %scmdline is empty: the process has ended", proc)
}

// words returns the texts that a file of proc(5) ends by zeros.
func words(b []byte) []string { return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00") }

// ownPath reports whether nobody but root and this user can change what a path names.
func ownPath(path string) bool {
	for ; ; path = filepath.Dir(path) {
		info, err := os.Lstat(path)
		if err != nil || info.Mode().Perm()&0o022 != 0 {
			return false
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 0 && int(uid) != os.Geteuid() {
			return false
		}
		if path == filepath.Dir(path) {
			return true
		}
	}
}

// Without returns the arguments without a switch.
func Without(args []string, name string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(a string) bool {
		return a == "--"+name || a == "--"+name+"=true"
	})
}
