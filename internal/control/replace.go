package control

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"uvs/internal/peer"
)

// protocol is what the connection of a replacement speaks after the upgrade (RFC 9110 section
// 7.8).
const protocol = "uvs-replace"

// handOver is what a director does with the connection of the one that replaces it.
type handOver func(*net.UnixConn)

// OnReplace has fn called with the connection of each process that asks to take the
// director's place, before Serve. fn closes it.
func (s *Server) OnReplace(fn func(*net.UnixConn)) { s.successor = fn }

func (s *Server) replace(*http.Request) (any, error) {
	if s.successor == nil {
		return nil, errors.New("this director cannot be replaced")
	}
	return s.successor, nil
}

// handOver takes the connection out of the server's hands.
func (s *Server) handOver(w http.ResponseWriter, r *http.Request, to handOver) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	conn, ok := c.(*limitedConn)
	if !ok {
		c.Close()
		return
	}
	_ = conn.SetDeadline(time.Time{})
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", protocol)
	go to(conn.Conn.(*net.UnixConn)) // of a trusted user, which counts towards no limit; it ends the server, which waits for this request
}

// Replace asks the director on a control socket to hand over to this process, and returns the
// connection on which it does. The director sends nothing there before it is sent something.
func Replace(ctx context.Context, address string) (*net.UnixConn, error) {
	c, err := peer.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	conn := c.(*net.UnixConn)
	if err := askToReplace(conn); err != nil {
		conn.Close()
		return nil, fmt.Errorf("control: %s: %w", address, err)
	}
	return conn, nil
}

func askToReplace(conn *net.UnixConn) error {
	who, err := peer.Of(conn)
	if err != nil {
		return err
	}
	if !who.Trusted() {
		return fmt.Errorf("%w by %s", ErrTaken, who)
	}
	_ = conn.SetDeadline(time.Now().Add(answerTimeout))
	defer conn.SetDeadline(time.Time{})
	fmt.Fprintf(conn, "POST /v1/replace HTTP/1.1\r\nHost: uvs\r\nConnection: Upgrade\r\nUpgrade: %s\r\nContent-Length: 0\r\n\r\n", protocol)
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return err
	}
	if answer.StatusCode == http.StatusSwitchingProtocols {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(answer.Body, maxHeader))
	return fmt.Errorf("the director that runs cannot be replaced (%s: %s); stop it, and start this one", answer.Status, body)
}

// Drain ends the server as Close does, but lets those have their answers who have asked, for a
// moment.
func (s *Server) Drain() error {
	s.closing.Do(func() { close(s.closed) })
	ctx, cancel := context.WithTimeout(context.Background(), drainTime)
	defer cancel()
	_ = s.http.Shutdown(ctx)
	return s.Close()
}

// drainTime is how long answers may take when the director is replaced: whoever reads longer,
// such as `uvs trace`, is cut off.
const drainTime = 500 * time.Millisecond
