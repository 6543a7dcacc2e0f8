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
	"time"

	"uvs/internal/peer"
)

// Presence tells other directors of the network namespace that there is one,
// whatever its control socket is: it listens on an abstract name of its own
// and answers each connection with an Introduction.
type Presence struct {
	listener net.Listener
	name     string
}

// Introduction is what a director says about itself.
type Introduction struct {
	PID        int      `json:"pid"`                  // as its PID namespace counts
	Interfaces []string `json:"interfaces,omitempty"` // it was told to work on; empty: all
	Socket     string   `json:"socket"`
}

// presence begins the names of all directors of a network namespace.
const presence = "@uvs-director/"

// Present makes the director known until Close.
func Present(i Introduction) (*Presence, error) {
	name := presence + rand.Text()
	l, err := net.Listen("unix", name)
	if err != nil {
		return nil, fmt.Errorf("control: %w", err)
	}
	said, err := json.Marshal(i)
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("control: %w", err)
	}
	go answerIntroductions(l, said)
	return &Presence{l, name}, nil
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
		_, _ = c.Write(said) // fits into the socket's buffer: nobody can make us wait
		c.Close()
	}
}

// Close makes the director unknown. A nil Presence is unknown already.
func (p *Presence) Close() error {
	if p == nil {
		return nil
	}
	return p.listener.Close()
}

// CheckAlone returns an error that names the first director found in this network
// namespace besides the one of p. Names that other users have taken do not
// count, and where the kernel's list cannot be read nobody is found.
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

// introductionOf returns the introduction of whoever has a name, and whether it is a
// director to be believed. One that was killed may still take connections for
// a moment, and ends them without a word; one that is stopped says nothing.
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

// String names the director in a sentence.
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
