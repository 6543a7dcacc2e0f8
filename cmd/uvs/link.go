package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
)

func linkCmd() *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "link DIR",
		Short: "Make the symlinks ipvsadm, ipvsadm-save and ipvsadm-restore",
		Long: `Make symlinks in DIR by which this binary is ipvsadm, ipvsadm-save and
ipvsadm-restore. A symlink that is there already is replaced if it leads to a
uvs binary or with --force; a file is never.`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return link(args[0], force) },
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "replace symlinks that lead elsewhere")
	return cmd
}

// link makes the symlinks, all or none.
func link(dir string, force bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := folder(dir); err != nil {
		return err
	}
	var paths []string
	for _, name := range slices.Sorted(maps.Keys(ipvsadmTools)) {
		path := filepath.Join(dir, name)
		if err := mayReplace(path, self, force); err != nil {
			return err
		}
		paths = append(paths, path)
	}
	for _, path := range paths {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err := os.Symlink(self, path); err != nil {
			return err
		}
	}
	return nil
}

func folder(dir string) error {
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("link: there is no folder %s; make it or name another, such as /usr/local/sbin", dir)
	}
	if err == nil && !info.IsDir() {
		return fmt.Errorf("link: %s is not a folder; name the folder that is to hold the symlinks", dir)
	}
	return err
}

// mayReplace returns an error if path exists and must stay.
func mayReplace(path, self string, force bool) error {
	target, err := os.Readlink(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("link: %s exists and is not a symlink, so it stays; move it away, or name a folder that comes before it in PATH", path)
	}
	if !force && filepath.Base(target) != filepath.Base(self) {
		return fmt.Errorf("link: %s leads to %s; --force replaces it", path, target)
	}
	return nil
}
