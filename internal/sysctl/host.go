package sysctl

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Director reports the part of a parameter's name behind net.ipv4.vs, if it is
// a setting of the director.
func Director(name string) (string, bool) {
	return strings.CutPrefix(strings.ReplaceAll(name, "/", "."), "net.ipv4.vs.")
}

// Host returns the path of the host's own sysctl if the words are none of the
// director's business, and the empty path if they are or there is none. The
// running program, under whatever name, is not the host's.
func Host(words []string) string {
	if slices.ContainsFunc(words, func(w string) bool { _, ours := Director(w); return ours }) {
		return ""
	}
	self, err := os.Stat("/proc/self/exe")
	if err != nil {
		return ""
	}
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		path := filepath.Join(dir, "sysctl")
		info, err := os.Stat(path)
		if err == nil && info.Mode()&0o111 != 0 && !info.IsDir() && !os.SameFile(info, self) {
			return path
		}
	}
	return ""
}
