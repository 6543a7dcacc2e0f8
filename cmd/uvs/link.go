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

func link(dir string, force bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(ipvsadmTools)) {
		path := filepath.Join(dir, name)
		if err := makeRoom(path, self, force); err != nil {
			return err
		}
		if err := os.Symlink(self, path); err != nil {
			return err
		}
	}
	return nil
}

// makeRoom removes a symlink that may be replaced.
func makeRoom(path, self string, force bool) error {
	target, err := os.Readlink(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s exists and is no symlink", path)
	}
	if !force && filepath.Base(target) != filepath.Base(self) {
		return fmt.Errorf("%s leads to %s (--force replaces it)", path, target)
	}
	return os.Remove(path)
}
