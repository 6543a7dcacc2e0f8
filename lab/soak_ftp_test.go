package lab_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// serveFTP has the servers answer FTP until the test ends: in passive mode, with files that
// have as many bytes as their names say.
func (s *soak) serveFTP() {
	s.t.Helper()
	for n := 1; n <= soakServers; n++ {
		node := fmt.Sprintf("rs%d", n)
		l, err := s.listen(node, netip.AddrPortFrom(netip.IPv6Unspecified(), 21))
		if err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go s.answerFTP(node, c)
			}
		}()
	}
}

// listen listens in a node, at [::] for IPv4 as well.
func (s *soak) listen(node string, at netip.AddrPort) (net.Listener, error) {
	f, err := s.l.Socket(node, unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	controlErr := raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
		if err = unix.Bind(int(fd), &unix.SockaddrInet6{Addr: at.Addr().As16(), Port: int(at.Port())}); err == nil {
			err = unix.Listen(int(fd), 16)
		}
	})
	if controlErr != nil || err != nil {
		return nil, fmt.Errorf("listen in %s at %s: %w, %w", node, at, controlErr, err)
	}
	return net.FileListener(f)
}

// answerFTP talks with one client.
func (s *soak) answerFTP(node string, c net.Conn) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	own := c.LocalAddr().(*net.TCPAddr).AddrPort().Addr().Unmap()
	fmt.Fprint(c, "220 here\r\n")
	var data net.Listener
	defer func() {
		if data != nil {
			data.Close()
		}
	}()
	for in := bufio.NewScanner(c); in.Scan(); {
		word, name, _ := strings.Cut(in.Text(), " ")
		switch word {
		case "PASV", "EPSV":
			l, err := s.listen(node, netip.AddrPortFrom(own, 0))
			if err != nil {
				return
			}
			data = l
			port := l.Addr().(*net.TCPAddr).Port
			if word == "EPSV" {
				fmt.Fprintf(c, "229 Entering Extended Passive Mode (|||%d|)\r\n", port)
			} else {
				fmt.Fprintf(c, "227 Entering Passive Mode (%s,%d,%d).\r\n", strings.ReplaceAll(own.String(), ".", ","), port>>8, port&255)
			}
		case "RETR":
			var n int
			if _, err := fmt.Sscan(name, &n); err != nil || data == nil {
				return
			}
			fmt.Fprint(c, "150 here it comes\r\n")
			if sendFile(data, n) != nil {
				return
			}
			fmt.Fprint(c, "226 that was it\r\n")
		default:
			return
		}
	}
}

// sendFile sends n bytes to whoever connects.
func sendFile(l net.Listener, n int) error {
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute))
	c, err := l.Accept()
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	_, err = c.Write(bytes.Repeat([]byte{'x'}, n))
	return err
}

// fetch fetches n bytes by FTP from a virtual address.
func (f *traffic) fetch(ctx context.Context, vip string, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c, err := f.dial(ctx, "tcp", withPort(vip, 21), true)
	if err != nil {
		return err
	}
	defer c.Close()
	end, _ := ctx.Deadline()
	_ = c.SetDeadline(end)
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })()
	in := bufio.NewReader(c)
	passive := "PASV"
	if strings.Contains(vip, ":") {
		passive = "EPSV"
	}
	var said string
	for _, step := range []struct{ say, want string }{{"", "220"}, {passive, "22"}} {
		if said, err = turn(c, in, step.say, step.want); err != nil {
			return err
		}
	}
	at, err := passiveEnd(vip, said)
	if err != nil {
		return err
	}
	data, err := f.dial(ctx, "tcp", at, true)
	if err != nil {
		return fmt.Errorf("the data connection to %s: %w", at, err)
	}
	defer data.Close()
	_ = data.SetDeadline(end)
	if _, err := turn(c, in, fmt.Sprint("RETR ", n), "150"); err != nil {
		return err
	}
	got, err := io.Copy(io.Discard, data)
	if err == nil && got != int64(n) {
		err = fmt.Errorf("%d of %d bytes by FTP", got, n)
	}
	if err == nil {
		_, err = turn(c, in, "", "226")
	}
	return err
}

// turn says something, if there is something to say, and returns the line that follows.
func turn(c net.Conn, in *bufio.Reader, say, want string) (string, error) {
	if say != "" {
		if _, err := fmt.Fprint(c, say, "\r\n"); err != nil {
			return "", err
		}
	}
	line, err := in.ReadString('\n')
	if err == nil && !strings.HasPrefix(line, want) {
		err = fmt.Errorf("FTP: %q in answer to %q", line, say)
	}
	return line, err
}

// passiveEnd returns the address that an answer to PASV or EPSV names. That of PASV has to be
// the virtual one.
func passiveEnd(vip, said string) (string, error) {
	_, rest, _ := strings.Cut(said, "(")
	rest, _, _ = strings.Cut(rest, ")")
	if port, ok := strings.CutPrefix(rest, "|||"); ok {
		return "[" + vip + "]:" + strings.TrimSuffix(port, "|"), nil
	}
	var a, b, c, d, high, low int
	if _, err := fmt.Sscanf(rest, "%d,%d,%d,%d,%d,%d", &a, &b, &c, &d, &high, &low); err != nil {
		return "", fmt.Errorf("FTP: %q: %w", said, err)
	}
	if named := fmt.Sprintf("%d.%d.%d.%d", a, b, c, d); named != vip {
		return "", fmt.Errorf("FTP: %q names %s, not %s", strings.TrimSpace(said), named, vip)
	}
	return fmt.Sprintf("%s:%d", vip, high<<8|low), nil
}
