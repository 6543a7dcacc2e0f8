package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"uvs/internal/privilege"
)

// keepCapabilities leaves the process the capabilities that a director needs, by
// executing it again. A rules file of another user, or in such a user's folder, can be
// saved by root only with those that ignore permissions.
func keepCapabilities(rules string, log *slog.Logger) {
	keep := privilege.Director
	theirs := rules != "" && !(ownedByUs(rules) && ownedByUs(filepath.Dir(rules)))
	if theirs {
		keep = keep.With(unix.CAP_DAC_OVERRIDE).With(unix.CAP_FOWNER)
	}
	if err := privilege.Keep(keep); err != nil {
		log.Warn("capabilities that are not needed stay", "err", err)
	}
	if theirs && os.Geteuid() == 0 {
		log.Info("the rules file or its folder belongs to another user: CAP_DAC_OVERRIDE and CAP_FOWNER are kept to save it", "file", rules)
	}
}

// ownedByUs reports whether a file is the user's, or does not exist.
func ownedByUs(path string) bool {
	info, err := os.Stat(path)
	if err != nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int(stat.Uid) == os.Geteuid()
}
