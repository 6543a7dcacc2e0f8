package control

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/config"
	"uvs/internal/peer"
)

// A limitListener is a listener that limits the connections of users who may not write, for
// each user and for all of them together, so that some are left for those who may.
// Connections beyond the limit get an answer that says so and are closed.
type limitListener struct {
	net.Listener
	trusted func(uid int) bool
	*unprivileged
}

// unprivileged counts the connections of users who may not write.
type unprivileged struct {
	bounds
	mu    sync.Mutex
	users map[int]int
	total int
}

// bounds are the largest numbers of unprivileged connections, of one user and of all users.
type bounds struct{ user, all int }

// boundsOf gives unprivileged users a quarter of the process's descriptors, at most 64.
func boundsOf(descriptors uint64) bounds {
	all := int(min(max(descriptors/4, 8), 64))
	return bounds{user: all / 4, all: all}
}

func newLimitListener(l net.Listener) *limitListener {
	var limit unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) // 0 on failure: the smallest bounds
	return &limitListener{l, peer.Trusted, &unprivileged{bounds: boundsOf(limit.Cur), users: map[int]int{}}}
}

// share returns a gate for one more listener that counts together with g.
func (g *limitListener) share(l net.Listener) *limitListener {
	return &limitListener{l, g.trusted, g.unprivileged}
}

// Accept returns the next connection within the limit.
func (g *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		who, err := peer.Of(c)
		if err != nil {
			c.Close()
			continue
		}
		if in := g.admit(c, who.UID); in != nil {
			return in, nil
		}
		rejectBusy(c, who.UID)
	}
}

// admit returns the connection, counted until it is closed, or nil if there are too many.
func (g *limitListener) admit(c net.Conn, uid int) net.Conn {
	if g.trusted(uid) {
		return &limitedConn{Conn: c, trusted: true, leave: func() {}}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.all || g.users[uid] >= g.user {
		return nil
	}
	g.total++
	g.users[uid]++
	return &limitedConn{Conn: c, leave: sync.OnceFunc(func() { g.release(uid) })}
}

func (g *unprivileged) release(uid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.users[uid]--; g.users[uid] == 0 {
		delete(g.users, uid)
	}
}

// limitedConn is a connection that counts towards the limit, unless it is trusted.
type limitedConn struct {
	net.Conn
	trusted bool
	leave   func()
}

func (c *limitedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// rejectBusy answers with the reason and closes. The answer fits the socket's buffer, so
// the client need not read it.
func rejectBusy(c net.Conn, uid int) {
	defer c.Close()
	body, _ := json.Marshal(failure{busy(fmt.Sprintf("user %d, or all plain users together, have too many connections to the director", uid))})
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	fmt.Fprintf(c, "HTTP/1.1 %d Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		http.StatusServiceUnavailable, len(body), body)
}

func busy(why string) *config.Problem { return &config.Problem{Code: "busy", Message: why} }
