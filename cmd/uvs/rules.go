package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"uvs/forwarder"
	"uvs/forwarder/config"
	"uvs/forwarder/service"
	"uvs/internal/control"
	"uvs/internal/ipvsadm"
	"uvs/internal/rules"
	"uvs/sched"
)

// rulesFile is the file from which a director loads its rules and to which it saves them. It
// is safe for concurrent use.
type rulesFile struct {
	path string // empty: none

	mu   sync.Mutex
	read []byte // what was last read from it; nil: it did not exist
}

// load applies the rules file, if one is given and exists. Only differences change.
func (d *director) load(ctx context.Context) error {
	f := &d.rules
	if f.path == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	text, err := readFile(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return writable(filepath.Dir(f.path)) // the file will be there at the end
	}
	if err != nil {
		return fmt.Errorf("--rules: %w", err)
	}
	if err := writable(filepath.Dir(f.path)); err != nil {
		d.log.Warn("the rules will not be saved at the end", "error", err)
	}
	wanted, err := parseRules(bytes.NewReader(text), f.path)
	if err != nil {
		return err
	}
	target := control.NewLocal(d.fw)
	current, err := rules.Of(ctx, target)
	if err != nil {
		return err
	}
	plan := rules.Diff(current, wanted)
	if err := plan.Apply(ctx, target); err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	f.read = text
	d.log.Info("rules loaded", "file", f.path, "services", len(wanted.Services), "changes", len(plan.Lines()))
	return nil
}

// writable returns an error if no file can be created in the folder. The user learns before
// the director runs that its rules could not be saved.
func writable(folder string) error {
	if err := unix.Access(folder, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("--rules: no file can be made in %s: %w", folder, err)
	}
	return nil
}

// readRules reads a rules file, or standard input if path is "-".
func readRules(path string) (*rules.Rules, error) {
	if path == "-" {
		return parseRules(os.Stdin, path)
	}
	text, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("apply: %w", err)
	}
	return parseRules(bytes.NewReader(text), path)
}

// readFile is os.ReadFile with a shorter error.
func readFile(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return nil, fmt.Errorf("%s: %w", path, pe.Err)
	}
	return text, err
}

func parseRules(text io.Reader, path string) (*rules.Rules, error) {
	r, err := rules.Parse(text, ipvsadm.NewSystemNames(), newTable())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// table is where a rules file is tried: a director's services and parameters without
// its engine.
type table struct {
	services *service.Table
	sysctl   forwarder.Sysctl
}

func newTable() *table { return &table{services: service.New(sched.New)} }

func (t *table) Apply(commands []config.Command, atomic bool) []error {
	return t.services.Apply(commands, atomic)
}

func (t *table) Services() []config.ServiceState { return t.services.Services() }

func (t *table) SetSysctl(name, value string) error { return t.sysctl.Set(name, value) }

// save writes the rules file atomically. If somebody has edited the file since it was last
// loaded, it stays, and the rules are saved under the same name with ".saved".
func (d *director) save(ctx context.Context) error {
	f := &d.rules
	if f.path == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	current, err := rules.Of(ctx, control.NewLocal(d.fw))
	if err != nil {
		return err
	}
	path := f.path
	if f.edited() {
		path += ".saved"
		d.log.Warn("the rules file was edited and not loaded: it stays, what runs is saved beside it", "file", f.path, "saved", path)
	}
	if err := writeRules(path, current); err != nil {
		return fmt.Errorf("save the rules: %w", err)
	}
	return nil
}

// edited reports whether the file has contents that were never loaded.
func (f *rulesFile) edited() bool {
	text, err := os.ReadFile(f.path)
	return err == nil && !bytes.Equal(text, f.read)
}

func writeRules(path string, r *rules.Rules) error {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails after a successful rename
	if err := rules.Format(file, r); err != nil {
		file.Close()
		return err
	}
	if err := errors.Join(file.Chmod(0o644), file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
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
