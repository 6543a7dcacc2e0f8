package client

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestADirectorThatHangs: who asks a stopped director is told so after a while.
func TestADirectorThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New("@hangs")
		ours, its := net.Pipe()
		defer its.Close()
		c.connect = func(context.Context, string) (net.Conn, error) { return ours, nil }
		go func() {
			for b := make([]byte, 4096); ; {
				if _, err := its.Read(b); err != nil {
					return
				}
			}
		}()
		start := time.Now()
		_, err := c.About(t.Context())
		if err == nil || !strings.Contains(err.Error(), "the director on @hangs did not answer within 1m0s") {
			t.Errorf("About: %v", err)
		}
		if d := time.Since(start); d != patience {
			t.Errorf("it took %v, want %v", d, patience)
		}
	})
}
