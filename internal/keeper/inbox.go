package keeper

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"uvs/internal/peer"
)

// inbox is the socket on which the program tells what it wants to be kept. Its name is
// abstract: anybody in the network namespace can send to it, so each message comes with its
// sender (SO_PASSCRED, unix(7)). Descriptors of other users are not even received: to close one
// can take for ever (close(2) waits for the server of a FUSE file).
type inbox struct {
	conn    *net.UnixConn
	address string
	notices chan notice
}

// notice is a message with its sender and the descriptors that came with it.
type notice struct {
	pid  int
	uid  int
	text string
	fds  []int
}

func (n *notice) close() {
	for _, fd := range n.fds {
		_ = unix.Close(fd)
	}
}

// markText is what the keeper tells itself.
const markText = "X_UVS_MARK=1"

const (
	maxText = 4096 // bytes of a message
	maxFDs  = 253  // descriptors of a message (SCM_MAX_FD)
)

func openInbox() (*inbox, error) {
	address := "@uvs-keeper/" + rand.Text()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("keeper: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
		if err == nil {
			err = cerr
		}
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("keeper: SO_PASSCRED: %w", err)
	}
	b := &inbox{conn: conn, address: address, notices: make(chan notice)}
	go b.read()
	return b, nil
}

// read reads messages until the socket is closed.
func (b *inbox) read() {
	defer close(b.notices)
	text := make([]byte, maxText)
	sender := make([]byte, unix.CmsgSpace(unix.SizeofUcred)) // and no room for descriptors
	control := make([]byte, len(sender)+unix.CmsgSpace(4*maxFDs))
	for {
		it, err := b.receive(text, sender, unix.MSG_PEEK)
		if err != nil {
			return
		}
		if !peer.Trusted(it.uid) {
			_, _ = b.receive(text, sender, 0)
			continue
		}
		if it, err = b.receive(text, control, 0); err != nil {
			return
		}
		b.notices <- it
	}
}

// receive receives a message in the given memory.
func (b *inbox) receive(text, control []byte, flags int) (it notice, err error) {
	raw, err := b.conn.SyscallConn()
	if err != nil {
		return it, err
	}
	var n, size int
	rerr := raw.Read(func(fd uintptr) bool {
		n, size, _, _, err = unix.Recvmsg(int(fd), text, control, flags|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC)
		return !errors.Is(err, unix.EAGAIN)
	})
	if err = errors.Join(rerr, err); err != nil {
		return it, err
	}
	it = notice{text: string(text[:n]), uid: -1}
	messages, _ := unix.ParseSocketControlMessage(control[:size])
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil {
			it.fds = append(it.fds, fds...)
		}
		if who, err := unix.ParseUnixCredentials(&messages[i]); err == nil {
			it.pid, it.uid = int(who.Pid), int(who.Uid)
		}
	}
	return it, nil
}

// mark sends a message whose arrival says that those before it have been read.
func (b *inbox) mark() error {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: b.address, Net: "unixgram"})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Write([]byte(markText))
	return err
}

func (b *inbox) close() { _ = b.conn.Close() }
