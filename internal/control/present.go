package control

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"uvs/internal/fdstore"
	"uvs/internal/peer"
)

// Presence makes a director known to others in the network namespace, whatever its control
// socket is: it listens on an abstract name of its own and answers each connection with an
// Introduction.
type Presence struct {
	listener net.Listener
	name     string
}

// Introduction is what a director says about itself.
type Introduction struct {
	PID        int      `json:"pid"`                  // in its own PID namespace
	Interfaces []string `json:"interfaces,omitempty"` // its interfaces; empty: all
	Socket     string   `json:"socket"`
}

// presence is the prefix of the names of all directors in a network namespace.
const presence = "@uvs-director/"

// keptPresence is the name under which the socket is kept.
const keptPresence = "presence"

// Present makes a director known until Close. While the store keeps the socket, others see that
// there is a director although none runs.
func Present(i Introduction, store *fdstore.Store) (*Presence, error) {
	l, err := listenPresence(store)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	name := l.Addr().String()
	said, err := json.Marshal(i)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("control: %w", err)
	}
	go answerIntroductions(l, said)
	return &Presence{l, name}, nil
}

// listenPresence returns the kept socket, or a new one that is kept.
func listenPresence(store *fdstore.Store) (net.Listener, error) {
	if f := store.Take(keptPresence); f != nil {
		defer f.Close()
		l, err := net.FileListener(f)
		if err == nil && strings.HasPrefix(l.Addr().String(), presence) {
			return l, nil
		}
		_ = store.Forget(keptPresence)
	}
	l, err := net.Listen("unix", presence+rand.Text())
	if err != nil {
		return nil, err
	}
	return l, store.Keep(keptPresence, l.(*net.UnixListener))
}

// Introductions returns what the other directors in this network namespace say about
// themselves.
func Introductions() (all []Introduction) {
	names, _ := peer.Names(presence)
	for _, name := range names {
		if i, ok := introductionOf(name); ok {
			all = append(all, i)
		}
	}
	return all
}

// answerIntroductions answers until the listener is closed.
func answerIntroductions(l net.Listener, said []byte) {
	for {
		c, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // no descriptor is free
			time.Sleep(100 * time.Millisecond)
			continue
		}
		_, _ = c.Write(said) // fits the socket's buffer: a client cannot block it
		c.Close()
	}
}

// Close makes the director unknown. It does nothing for a nil Presence.
func (p *Presence) Close() error {
	if p == nil {
		return nil
	}
	return p.listener.Close()
}

// starting is the name that a director has while it becomes known and looks for others.
const starting = "@uvs-starting"

// Begin waits until no other director is between Present and CheckAlone: of two that start at
// once, the second then finds the first. It returns what ends that. A name that an untrusted
// user has bound, or that somebody keeps, is not waited for.
func Begin() (end func()) {
	for until := time.Now().Add(answerTimeout); ; time.Sleep(time.Millisecond) {
		l, err := net.Listen("unix", starting)
		if err == nil {
			return func() { _ = l.Close() }
		}
		if !errors.Is(err, syscall.EADDRINUSE) || time.Now().After(until) {
			return func() {}
		}
		if who, err := holderOf(starting); err == nil && !who.Trusted() {
			return func() {}
		}
	}
}

// CheckAlone returns an error that names the first other director found in this network
// namespace. Names bound by untrusted users do not count. If the kernel's list cannot be
// read, it finds none.
func (p *Presence) CheckAlone() error {
	names, _ := peer.Names(presence)
	for _, name := range names {
		if name == p.name {
			continue
		}
		if other, ok := introductionOf(name); ok {
			return fmt.Errorf("a director works in this network namespace already: %s. "+
				"Two would both answer for their addresses: end that one, give it the rules (UVS_SOCKET=%s ipvsadm …), or start this one with --share",
				other, other.Socket)
		}
	}
	return nil
}

// introductionOf returns the introduction from the socket with a name, and whether it is
// that of a trusted director. A killed director may still accept connections for a moment
// and closes them without an answer; a stopped one does not answer.
func introductionOf(name string) (i Introduction, ok bool) {
	c, err := peer.Dial(context.Background(), name)
	if err != nil {
		return i, false
	}
	defer c.Close()
	who, err := peer.Of(c)
	if err != nil || !who.Trusted() {
		return i, false
	}
	_ = c.SetDeadline(time.Now().Add(answerTimeout))
	err = json.NewDecoder(c).Decode(&i)
	return i, err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

// String describes the director in a sentence.
func (i Introduction) String() string {
	if i.PID == 0 {
		return "it does not answer"
	}
	on := "all interfaces"
	if len(i.Interfaces) > 0 {
		on = strings.Join(i.Interfaces, ", ")
	}
	return fmt.Sprintf("process %d on %s, control socket %s", i.PID, on, i.Socket)
}
