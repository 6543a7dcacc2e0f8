package sysctl

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Director returns the part of a parameter's name after net.ipv4.vs, and whether it is a
// parameter of the director.
func Director(name string) (string, bool) {
	return strings.CutPrefix(strings.ReplaceAll(name, "/", "."), "net.ipv4.vs.")
}

// Host returns the path of the host's own sysctl if no argument is about a parameter of
// the director. It is empty if one is, or if the host has no sysctl. The running program,
// under any name, is not the host's.
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
