package control

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"

	"uvs/forwarder/config"
	"uvs/internal/control/controltest"
	"uvs/internal/peer"
)

// patient is a director that answers when it may.
type patient struct {
	*controltest.Director
	asked, may chan struct{}
}

func (d *patient) Connections() []config.Connection {
	close(d.asked)
	<-d.may
	return nil
}

// What a request reads is gone once its server is closed.
func TestAServerThatEndsWaitsForWhoUsesTheDirector(t *testing.T) {
	for name, end := range map[string]func(*Server) error{"closed": (*Server).Close, "drained": (*Server).Drain} {
		t.Run(name, func(t *testing.T) {
			d := &patient{controltest.New(), make(chan struct{}), make(chan struct{})}
			l, err := Listen(filepath.Join(t.TempDir(), "uvs"))
			if err != nil {
				t.Fatal(err)
			}
			s := NewServer(d, config.About{}, slog.New(slog.DiscardHandler))
			served := make(chan error, 1)
			go func() { served <- s.Serve(l) }()
			conn, err := peer.Dial(t.Context(), l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if _, err := conn.Write([]byte("GET /v1/connections HTTP/1.1\r\nHost: uvs\r\n\r\n")); err != nil {
				t.Fatal(err)
			}
			<-d.asked
			ended := make(chan error, 1)
			go func() { ended <- end(s) }()
			cut(conn) // no answer: the server has closed all connections by now
			select {
			case err := <-ended:
				t.Errorf("it has ended (%v) and the director is used", err)
			default:
			}
			close(d.may)
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if err := <-served; err != nil {
				t.Error(err)
			}
			if s.using.TryRLock() {
				t.Error("who comes later may use the director")
			}
			if s.ctx.Err() != context.Canceled {
				t.Error("requests go on")
			}
		})
	}
}

// cut waits for the end of a connection.
func cut(c net.Conn) { _, _ = bufio.NewReader(c).ReadByte() }
