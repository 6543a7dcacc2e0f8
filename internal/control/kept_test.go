package control

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"uvs/forwarder/config"
	"uvs/internal/control/controltest"
	"uvs/internal/fdstore"
)

// A process that is started beside the one that has taken over fails, and must not take the
// socket's file with it.
func TestAKeptSocketStaysUntilItWasServed(t *testing.T) {
	path, store := filepath.Join(t.TempDir(), "uvs"), fdstore.New()
	defer store.Close()
	l, err := ListenKept(path, store)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Leave(); err != nil {
		t.Fatal(err)
	}
	listen := func() *Listener {
		t.Helper()
		l, err := ListenKept(path, store)
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if err := listen().Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("after a process that failed: %v", err)
	}
	l = listen()
	s := NewServer(controltest.New(), config.About{}, slog.New(slog.DiscardHandler))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(l); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("after one that served: %v", err)
	}
}
