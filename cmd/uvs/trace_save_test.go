package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAFileOfRecordsIsNewAndItsOwnersAlone saves a trace where a file is, and where none is
// but no director either.
func TestAFileOfRecordsIsNewAndItsOwnersAlone(t *testing.T) {
	name := filepath.Join(t.TempDir(), "web.pcapng")
	f, err := newFile(name)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteString("kept")
	f.Close()
	if info, err := os.Stat(name); err != nil || info.Mode() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	save := func(name string) string {
		cmd := rootCmd()
		cmd.SetArgs([]string{"trace", "save", "--socket", filepath.Join(t.TempDir(), "none"), name, "1"})
		if err := cmd.Execute(); err != nil {
			return err.Error()
		}
		return ""
	}
	want := "trace save: " + name + " is there already; give another name"
	if got := save(name); got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if text, err := os.ReadFile(name); string(text) != "kept" {
		t.Errorf("the file has %q, %v", text, err)
	}
	other := filepath.Join(t.TempDir(), "other.pcapng")
	got := save(other)
	if _, err := os.Stat(other); got == "" || strings.Contains(got, "already") || !os.IsNotExist(err) {
		t.Errorf("without a director: %q, and the file: %v", got, err)
	}
}
