// Package rulesfile is the file that a director takes its rules from and leaves
// them in.
package rulesfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"uvs/internal/ipvsadm"
	"uvs/internal/rules"
)

// File is the rules file of a director. It is safe for concurrent use.
type File struct {
	Path string // empty: none
	Log  *slog.Logger

	mu     sync.Mutex
	read   []byte    // what was last read from it; nil: it was not there
	loaded time.Time // when Load read it without a mistake; zero: never
}

// Load makes a director follow the rules file, if one is given and exists. Only
// what differs changes.
func (f *File) Load(ctx context.Context, d rules.Director) error {
	if f.Path == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	text, err := Text(f.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return writable(filepath.Dir(f.Path)) // the file will be there at the end
	}
	if err != nil {
		return fmt.Errorf("--rules: %w", err)
	}
	if err := writable(filepath.Dir(f.Path)); err != nil {
		f.Log.Warn("the rules will not be saved at the end", "error", err)
	}
	wanted, err := Parse(bytes.NewReader(text), f.Path)
	if err != nil {
		return err
	}
	current, err := rules.Of(ctx, d)
	if err != nil {
		return err
	}
	plan := rules.Diff(current, wanted)
	if err := plan.Apply(ctx, d); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	f.read, f.loaded = text, time.Now()
	f.Log.Info("rules loaded", "event", "rules-loaded", "file", f.Path, "services", len(wanted.Services), "changes", len(plan.Lines()))
	return nil
}

// Loaded returns when the file was last loaded without a mistake, zero for never.
func (f *File) Loaded() time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.loaded
}

// Digest tells what the file had when it was last read or written; it is empty if that
// never was.
func (f *File) Digest() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return digest(f.read)
}

func digest(text []byte) string {
	if text == nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Unchanged reports whether the file has what a director before this one knew of it, by
// its Digest. The file counts as read then.
func (f *File) Unchanged(since string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	text, err := Text(f.Path)
	if f.Path == "" || err != nil || digest(text) != since {
		return false
	}
	f.read = text
	return true
}

// writable reports whether a rules file can be made in the folder. What keeps
// the rules from being saved is to be heard of before there are any.
func writable(folder string) error {
	if err := unix.Access(folder, unix.W_OK|unix.X_OK); err != nil {
		return fmt.Errorf("--rules: no file can be made in %s: %w", folder, err)
	}
	return nil
}

// Text is os.ReadFile, with the file's name once in an error.
func Text(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return nil, fmt.Errorf("%s: %w", path, pe.Err)
	}
	return text, err
}

// Parse reads rules as from a file with this path, which its errors name.
func Parse(text io.Reader, path string) (*rules.Rules, error) {
	r, err := rules.Parse(text, ipvsadm.NewSystemNames(), newTable())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

// Save writes the rules of a director to its file, all of them or nothing. A file
// that somebody has edited since it was last loaded is not written over: the rules
// go beside it, under the same name with ".saved".
func (f *File) Save(ctx context.Context, d rules.Director) error {
	if f.Path == "" {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	current, err := rules.Of(ctx, d)
	if err != nil {
		return err
	}
	path := f.Path
	if f.edited() {
		path += ".saved"
		f.Log.Warn("the rules file was edited and not loaded: it stays, what runs is saved beside it", "file", f.Path, "saved", path)
	}
	written, err := write(path, current)
	if err != nil {
		return fmt.Errorf("save the rules: %w", err)
	}
	if path == f.Path {
		f.read = written
	}
	return nil
}

// edited tells whether the file holds something that was never loaded.
func (f *File) edited() bool {
	text, err := os.ReadFile(f.Path)
	return err == nil && !bytes.Equal(text, f.read)
}

func write(path string, r *rules.Rules) ([]byte, error) {
	file, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name()) // gone by then if all went well
	var text bytes.Buffer
	if err := rules.Format(&text, r); err != nil {
		file.Close()
		return nil, err
	}
	if _, err := file.Write(text.Bytes()); err != nil {
		file.Close()
		return nil, err
	}
	if err := errors.Join(file.Chmod(0o644), file.Sync(), file.Close()); err != nil {
		return nil, err
	}
	return text.Bytes(), os.Rename(file.Name(), path)
}
