package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"uvs/internal/peer"
)

// serve answers requests until the lab ends. While descriptors are short it
// waits for some.
func (s *supervisor) serve(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		switch {
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
			time.Sleep(10 * time.Millisecond)
		case err != nil:
			return
		default:
			go s.handle(c)
		}
	}
}

// handle serves one connection. Only user 0 of the supervisor's user namespace is
// served: root for root's lab, and the owner for a plain user's lab, since nobody else
// is mapped into it.
func (s *supervisor) handle(c *net.UnixConn) {
	defer c.Close()
	if who, err := peer.Of(c); err != nil || who.UID != 0 {
		refuse(c, fmt.Errorf("lab %s belongs to another user", s.Name))
		return
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	files, err := receiveFiles(c)
	if err != nil {
		return
	}
	defer closeAll(files)
	messages := json.NewDecoder(c)
	var r request
	if err := messages.Decode(&r); err != nil {
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	if err := s.do(c, messages, r, files); err != nil {
		refuse(c, err)
	}
}

// do performs a request and answers it. The caller answers an error.
func (s *supervisor) do(c *net.UnixConn, messages *json.Decoder, r request, files []*os.File) error {
	switch r.Op {
	case opApply:
		return s.apply(c, r.Topology)
	case opExec:
		return s.exec(c, messages, &r, files)
	case opDown, opLife:
		return s.life(c, r.Op == opDown)
	case opInfo, opLogs:
		return s.tell(c, &r)
	}
	s.changing.RLock()
	defer s.changing.RUnlock()
	switch r.Op {
	case opLink, opHeal:
		return s.relink(c, &r)
	case opBreak, opReveal:
		return reply(c, answer{Inserted: s.faults.note(r.Fault)})
	case opHint:
		return reply(c, answer{Inserted: s.faults.hint()})
	}
	return s.doAt(c, &r)
}

// tell answers a request about the lab as it is, also while it is made another.
func (s *supervisor) tell(c *net.UnixConn, r *request) error {
	var a answer
	var err error
	if r.Op == opLogs {
		a.Text, err = s.logs(r.Node)
	} else {
		a.Info, err = s.info()
	}
	if err != nil {
		return err
	}
	return reply(c, a)
}

// doAt performs a request about one node.
func (s *supervisor) doAt(c *net.UnixConn, r *request) error {
	h, err := s.host(r.Node)
	if err != nil {
		return err
	}
	switch r.Op {
	case opSocket:
		return s.socket(c, h, r.Socket)
	case opKill, opStart:
		return s.switchServices(c, h, r.Op == opStart)
	case opTap:
		return s.tap(c, h, r.Name)
	case opSwap:
		return s.swap(c, h, r.Swap)
	case opLook:
		look, err := h.look()
		if err != nil {
			return err
		}
		return reply(c, answer{Look: look})
	}
	if do := s.failures()[r.Op]; do != nil {
		if err := do(h, r); err != nil {
			return err
		}
		return reply(c, answer{Started: true})
	}
	return fmt.Errorf("lab: unknown request %q", r.Op)
}

func reply(c *net.UnixConn, a answer, files ...*os.File) error {
	if err := sendFiles(c, files...); err != nil {
		return nil // the client is gone
	}
	_ = json.NewEncoder(c).Encode(a)
	return nil
}

func refuse(c *net.UnixConn, err error) {
	_ = reply(c, answer{Error: err.Error()})
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// exec runs a command for the client, on the descriptors it sent.
func (s *supervisor) exec(c *net.UnixConn, messages *json.Decoder, asked *request, files []*os.File) error {
	r := asked.Exec
	s.changing.RLock()
	h, err := s.host(asked.Node)
	if err == nil && (r == nil || len(r.Argv) == 0 || len(files) != 3) {
		err = fmt.Errorf("lab: exec wants a command and three descriptors")
	}
	if err != nil {
		s.changing.RUnlock()
		return err
	}
	p, err := s.reaper.start(h, r.Argv, environ(r.Env, s.Name, h.Name), r.Dir, files, r.TTY)
	s.changing.RUnlock()
	if err != nil {
		code := exitCode(err)
		return reply(c, answer{Error: err.Error(), Exit: &code})
	}
	// The process has its own: a pipe must end when the process does.
	closeAll(files)
	if err := reply(c, answer{Started: true}); err != nil {
		return err
	}
	go forwardSignals(messages, p)
	code := p.wait()
	_ = json.NewEncoder(c).Encode(answer{Exit: &code})
	return nil
}

// forwardSignals forwards the client's signals until the client is gone, and then ends
// the process: a client that is killed leaves nothing running.
func forwardSignals(messages *json.Decoder, p *process) {
	for {
		var m signalMessage
		if err := messages.Decode(&m); err != nil {
			p.signal(unix.SIGHUP)
			p.signal(unix.SIGCONT)
			select {
			case <-p.exited:
			case <-time.After(500 * time.Millisecond):
				p.signal(unix.SIGKILL)
			}
			return
		}
		if m.Signal > 0 && m.Signal < 65 {
			p.signal(unix.Signal(m.Signal))
		}
	}
}

// socket makes a socket in the node and passes it to the client, whose packets on it
// are the node's.
func (s *supervisor) socket(c *net.UnixConn, h *host, spec [3]int) error {
	var fd int
	err := h.try(func() (err error) {
		fd, err = unix.Socket(spec[0], spec[1]|unix.SOCK_CLOEXEC, spec[2])
		return err
	})
	if err != nil {
		return fmt.Errorf("lab: %s: socket: %w", h.Name, err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close()
	return reply(c, answer{Started: true}, f)
}

// life passes a descriptor that becomes readable when the lab is gone, and ends the lab if it
// is to go down.
func (s *supervisor) life(c *net.UnixConn, down bool) error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		return fmt.Errorf("lab: pidfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	_ = reply(c, answer{Started: true}, f)
	if down {
		os.Exit(0)
	}
	return nil
}

// switchServices kills or starts all services of a node.
func (s *supervisor) switchServices(c *net.UnixConn, h *host, on bool) error {
	if on {
		if err := s.startServicesOf(h); err != nil {
			return err
		}
		return reply(c, answer{Started: true})
	}
	for _, r := range s.services {
		if r.host == h {
			r.kill()
		}
	}
	return reply(c, answer{Started: true})
}

// startServicesOf starts the services of a node that are not running, one after the other.
func (s *supervisor) startServicesOf(h *host) error {
	for _, r := range s.services {
		if r.host != h {
			continue
		}
		if err := s.launch(r); err != nil {
			return err
		}
		if err := r.await(); err != nil {
			return err
		}
	}
	return nil
}

// logs returns what the services of a node have printed.
func (s *supervisor) logs(node string) (text string, err error) {
	s.state.RLock()
	defer s.state.RUnlock()
	h, err := s.host(node)
	if err != nil {
		return "", err
	}
	for _, r := range s.services {
		if r.host == h {
			text += r.log.String()
		}
	}
	return text, nil
}
