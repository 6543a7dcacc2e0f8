package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A lab listens on an abstract unix socket of the network namespace it was started in.
// Every connection carries one request. Each side first sends a single byte with the
// descriptors it passes, if any; JSON values follow. When a connection ends, what it
// started ends too.

// Operations a request can ask for.
const (
	opInfo   = "info"   // answer: Info
	opExec   = "exec"   // with stdin, stdout, stderr; answer: Started, later Exit
	opSocket = "socket" // answer: a descriptor
	opDown   = "down"   // answer: a pidfd of the supervisor, which then ends
	opKill   = "kill"   // answer: empty
	opStart  = "start"  // answer: empty
	opLogs   = "logs"   // answer: Text
	opSwap   = "swap"   // another command for a service, or none, until it is started again; answer: empty
	opBreak  = "break"  // notes an inserted fault; answer: empty
	opReveal = "reveal" // answer: Inserted
	opCrash  = "crash"  // of one service, or of what it keeps; answer: empty
	opCable  = "cable"  // pull it or put it in; answer: empty
	opFail   = "fail"   // of a whole node; answer: empty
	opReturn = "return" // of a node that failed; answer: empty
	opApply  = "apply"  // of another topology; answer: Notes, Topology
	opLook   = "look"   // at a node's kernel; answer: Look
	opHint   = "hint"   // counts a hint about the fault inserted last; answer: Inserted, it alone
	opLink   = "link"   // change one; answer: Links, this one
	opHeal   = "heal"   // all links; answer: empty
	opLife   = "life"   // answer: a pidfd of the supervisor
	opTap    = "tap"    // of an interface; answer: two packet sockets
)

type request struct {
	Op     string       `json:"op"`
	Node   string       `json:"node,omitempty"`
	Exec   *execRequest `json:"exec,omitempty"`
	Name   string       `json:"name,omitempty"`  // of a service or an interface
	Up     bool         `json:"up,omitempty"`    // of a cable
	Socket [3]int       `json:"socket,omitzero"` // domain, type, protocol of socket(2)
	Swap   *Service     `json:"swap,omitempty"`  // name and command
	Fault  *Inserted    `json:"fault,omitempty"`
	Link   *LinkChange  `json:"link,omitempty"`

	Topology *Topology `json:"topology,omitempty"`
}

type execRequest struct {
	Argv []string `json:"argv"`
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`
	TTY  bool     `json:"tty,omitempty"` // stdin is to be the controlling terminal
}

// signalMessage follows an exec request whenever the caller gets a signal.
type signalMessage struct {
	Signal int `json:"signal"`
}

type answer struct {
	Error   string `json:"error,omitempty"`
	Denied  bool   `json:"denied,omitempty"` // the error is one of privilege
	Exit    *int   `json:"exit,omitempty"`
	Started bool   `json:"started,omitempty"`
	Info    *Info  `json:"info,omitempty"`
	Text    string `json:"text,omitempty"`

	Inserted []Inserted   `json:"inserted,omitempty"`
	Look     *Look        `json:"look,omitempty"`
	Links    []LinkStatus `json:"links,omitempty"`
	Notes    []string     `json:"notes,omitempty"`
	Topology *Topology    `json:"topology,omitempty"` // that the lab has become
}

// startMessage is what the starting process sends to its supervisor, on a socket pair:
// if the starter ends before it has detached the lab, so does the lab.
type startMessage struct {
	Name     string   `json:"name"`
	PID      int      `json:"pid"` // the supervisor's, as its starter sees it
	Program  string   `json:"program"`
	Session  Session  `json:"session"` // of the starter
	Topology Topology `json:"topology"`
	Detach   bool     `json:"detach,omitempty"` // in the second message
}

// sendFiles sends the first byte of one direction, with descriptors.
func sendFiles(c *net.UnixConn, files ...*os.File) error {
	fds := make([]int, len(files))
	for i, f := range files {
		fds[i] = int(f.Fd())
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	_, _, err := c.WriteMsgUnix([]byte{0}, rights, nil)
	return err
}

// receiveFiles receives the first byte and its descriptors, which the caller closes.
func receiveFiles(c *net.UnixConn) ([]*os.File, error) {
	oob := make([]byte, unix.CmsgSpace(4*8))
	var b [1]byte
	n, oobn, _, _, err := c.ReadMsgUnix(b[:], oob)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, errors.New("connection closed")
	}
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for i := range messages {
		fds, err := unix.ParseUnixRights(&messages[i])
		if err != nil {
			continue
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "passed"))
		}
	}
	return files, nil
}

// call sends a request on a new connection to a lab and returns its answer.
func call(socket string, r request) (answer, []*os.File, error) {
	return callFor(socket, r, 20*time.Second)
}

// callFor is call for a request that may take longer.
func callFor(socket string, r request, within time.Duration) (answer, []*os.File, error) {
	c, err := dialLab(socket)
	if err != nil {
		return answer{}, nil, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(within))
	return ask(c, json.NewDecoder(c), r)
}

// ask sends a request and returns the first answer. More may follow in the
// decoder.
func ask(c *net.UnixConn, answers *json.Decoder, r request, files ...*os.File) (answer, []*os.File, error) {
	sent := sendFiles(c, files...)
	if sent == nil {
		sent = json.NewEncoder(c).Encode(r)
	}
	// A refused caller may find the connection closed before it has sent anything;
	// the reason can be read all the same.
	got, err := receiveFiles(c)
	if err != nil {
		return answer{}, nil, fmt.Errorf("lab: no answer: %w", errors.Join(sent, err))
	}
	var a answer
	if err := answers.Decode(&a); err != nil {
		return answer{}, got, fmt.Errorf("lab: no answer: %w", err)
	}
	if a.Error != "" {
		return a, got, errors.New(a.Error)
	}
	return a, got, nil
}
