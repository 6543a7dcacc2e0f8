package control

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestListen(t *testing.T) {
	addresses := map[string]string{
		"abstract": fmt.Sprintf("@uvs-test-%d", os.Getpid()),
		"path":     filepath.Join(t.TempDir(), "s"),
	}
	for kind, address := range addresses {
		t.Run(kind+" socket of a director that answers is refused", func(t *testing.T) {
			l := must(t, address)
			defer l.Close()
			go answer(l)
			if _, err := Listen(address); !errors.Is(err, ErrInUse) {
				t.Errorf("error %v", err)
			}
		})
		t.Run(kind+" socket of a director that is just ending is taken over", func(t *testing.T) {
			old := must(t, address)
			old.Listener.(*net.UnixListener).SetUnlinkOnClose(false) // as if it was killed
			time.AfterFunc(50*time.Millisecond, func() { old.Close() })
			must(t, address).Close()
		})
	}
}

func must(t *testing.T, address string) *Listener {
	t.Helper()
	l, err := Listen(address)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// answer says something to whoever connects and sends a line.
func answer(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		_, _ = c.Read(make([]byte, 100))
		_, _ = io.WriteString(c, "HTTP/1.0 404 Not Found\r\n\r\n")
		c.Close()
	}
}

func TestListenRefusesAnAddressWithoutAName(t *testing.T) {
	for _, address := range []string{"", "@"} {
		if l, err := Listen(address); err == nil {
			l.Close()
			t.Errorf("a socket whose name nobody knows was opened for %q", address)
		}
	}
}
