package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"uvs/internal/ipvsadm"
	"uvs/internal/rules"
)

// load makes the director follow the rules file, if one is given and exists.
// Only what differs changes.
func (d *director) load(ctx context.Context) error {
	if d.rules == "" {
		return nil
	}
	wanted, err := readRules(d.rules)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it will be there at the end
	}
	if err != nil {
		return err
	}
	target := rules.Local(d.fw)
	current, err := rules.Of(ctx, target)
	if err != nil {
		return err
	}
	plan := rules.Diff(current, wanted)
	if err := plan.Carry(ctx, target); err != nil {
		return fmt.Errorf("%s: %w", d.rules, err)
	}
	d.log.Info("rules loaded", "file", d.rules, "services", len(wanted.Services), "changes", len(plan.Lines()))
	return nil
}

func readRules(path string) (*rules.Rules, error) {
	file := os.Stdin
	if path != "-" {
		var err error
		if file, err = os.Open(path); err != nil {
			return nil, err
		}
		defer file.Close()
	}
	r, err := rules.Parse(file, ipvsadm.NewSystemNames())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// save writes the rules file, all of it or nothing.
func (d *director) save(ctx context.Context) error {
	if d.rules == "" {
		return nil
	}
	current, err := rules.Of(ctx, rules.Local(d.fw))
	if err != nil {
		return err
	}
	file, err := os.CreateTemp(filepath.Dir(d.rules), filepath.Base(d.rules)+".*")
	if err != nil {
		return fmt.Errorf("save the rules: %w", err)
	}
	defer os.Remove(file.Name()) // gone by then if all went well
	if err := rules.Format(file, current); err != nil {
		file.Close()
		return fmt.Errorf("save the rules: %w", err)
	}
	if err := errors.Join(file.Chmod(0o644), file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("save the rules: %w", err)
	}
	return os.Rename(file.Name(), d.rules)
}

// reload loads the rules file at each SIGHUP.
func (d *director) reload(ctx context.Context, hup <-chan os.Signal) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			if err := d.load(ctx); err != nil {
				d.log.Error("the rules stay as they are", "error", err)
			}
		}
	}
}
