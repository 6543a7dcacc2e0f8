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

// A gate is a listener that keeps connections for those who may write: whoever
// else is in the network namespace gets a number of them, each user and all
// together. Those beyond are told so and closed.
type gate struct {
	net.Listener
	trusted func(uid int) bool
	*strangers
}

// strangers counts the connections of those who may not write.
type strangers struct {
	bounds
	mu    sync.Mutex
	users map[int]int
	total int
}

// bounds are the connections of strangers, of one user and of all together.
type bounds struct{ user, all int }

// boundsOf leaves to strangers a quarter of the descriptors that the process
// may have, and not more than 64.
func boundsOf(descriptors uint64) bounds {
	all := int(min(max(descriptors/4, 8), 64))
	return bounds{user: all / 4, all: all}
}

func newGate(l net.Listener) *gate {
	var limit unix.Rlimit
	_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) // 0 on failure: the least
	return &gate{l, peer.Trusted, &strangers{bounds: boundsOf(limit.Cur), users: map[int]int{}}}
}

// also returns a gate for one more listener that counts together with g.
func (g *gate) also(l net.Listener) *gate { return &gate{l, g.trusted, g.strangers} }

// Accept returns the next connection that is let in.
func (g *gate) Accept() (net.Conn, error) {
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
		turnAway(c, who.UID)
	}
}

// admit returns the connection as one that is counted until it is closed, or
// nil if there are too many.
func (g *gate) admit(c net.Conn, uid int) net.Conn {
	if g.trusted(uid) {
		return &guest{Conn: c, trusted: true, leave: func() {}}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.total >= g.all || g.users[uid] >= g.user {
		return nil
	}
	g.total++
	g.users[uid]++
	return &guest{Conn: c, leave: sync.OnceFunc(func() { g.left(uid) })}
}

func (g *strangers) left(uid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.total--
	if g.users[uid]--; g.users[uid] == 0 {
		delete(g.users, uid)
	}
}

// guest is a connection that was let in.
type guest struct {
	net.Conn
	trusted bool
	leave   func()
}

func (c *guest) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// turnAway says why before it closes. The answer fits what a new connection
// takes without its reader.
func turnAway(c net.Conn, uid int) {
	defer c.Close()
	body, _ := json.Marshal(failure{busy(fmt.Sprintf("user %d, or all plain users together, have too many connections to the director", uid))})
	_ = c.SetWriteDeadline(time.Now().Add(time.Second))
	fmt.Fprintf(c, "HTTP/1.1 %d Service Unavailable\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s",
		http.StatusServiceUnavailable, len(body), body)
}

func busy(why string) *config.Problem { return &config.Problem{Code: "busy", Message: why} }
