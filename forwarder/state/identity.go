package state

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"golang.org/x/sys/unix"
)

// identity says whose a state is. Its file has this as a line of JSON, and the
// checksum of that line as another.
type identity struct {
	Layout    int    `json:"layout"`
	Boot      string `json:"boot"`      // /proc/sys/kernel/random/boot_id
	Namespace string `json:"namespace"` // of the network
	User      int    `json:"user"`
	Began     int64  `json:"began"` // nanoseconds of the clock
}

// maxIdentity is more than the file can have, in bytes.
const maxIdentity = 4096

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(b []byte) uint32 { return crc32.Checksum(b, castagnoli) }

// own returns what the identity of a state of this process is.
func ownIdentity(now time.Duration) identity {
	return identity{Layout: Layout, Boot: bootID(), Namespace: Namespace(), User: os.Geteuid(), Began: int64(now)}
}

func (id *identity) text() []byte {
	line, err := jsonv2.Marshal(id)
	if err != nil {
		panic("state: " + err.Error()) // it has numbers and words only
	}
	return fmt.Appendf(nil, "%s\n%08x\n", line, checksum(line))
}

func parseIdentity(text []byte) (*identity, error) {
	line, sum, ok := bytes.Cut(text, []byte("\n"))
	if !ok || string(sum) != fmt.Sprintf("%08x\n", checksum(line)) {
		return nil, refuse(identityName, "its checksum is wrong")
	}
	var id identity
	if err := jsonv2.Unmarshal(line, &id); err != nil {
		return nil, refuse(identityName, "%v", err)
	}
	return &id, nil
}

// check returns why a state with this identity is not for this process.
func (id *identity) check(now time.Duration) error {
	own := ownIdentity(now)
	switch {
	case id.Layout > Layout:
		return refuse(identityName, "made by a newer uvs: its layout is %d, this one knows %d", id.Layout, Layout)
	case id.Layout < Layout:
		return refuse(identityName, "made by an older uvs: its layout is %d, this one knows %d", id.Layout, Layout)
	case id.Boot != own.Boot, id.Began > own.Began:
		return refuse(identityName, "it is from before the host's start")
	case id.Namespace != own.Namespace:
		return refuse(identityName, "it is from network namespace %s, and this is %s", id.Namespace, own.Namespace)
	case id.User != own.User:
		return refuse(identityName, "it is of user %d, and this is %d", id.User, own.User)
	}
	return nil
}

// readIdentity returns the identity of a state, nil if there is none.
func readIdentity(p place, now time.Duration) (*identity, error) {
	f, err := p.open(identityName)
	if f == nil || err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, 0, maxIdentity))
	if err != nil {
		return nil, refuse(identityName, "%v", err)
	}
	id, err := parseIdentity(text)
	if err != nil {
		return nil, err
	}
	return id, id.check(now)
}

func writeIdentity(p place, now time.Duration) error {
	f, err := p.create(identityName)
	if err != nil {
		return err
	}
	defer f.Close()
	id := ownIdentity(now)
	if _, err := f.Write(id.text()); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	return p.put(identityName, f)
}

// bootID names the host's start, "" where it is hidden.
func bootID() string {
	text, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(text))
}

// Namespace names this network namespace: by a cookie, which is never used again
// until the host starts anew (SO_NETNS_COOKIE, Linux 5.14), or else by its inode.
func Namespace() string {
	if fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err == nil {
		defer unix.Close(fd)
		if cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE); err == nil {
			return strconv.FormatUint(cookie, 10)
		}
	}
	info, err := os.Stat("/proc/thread-self/ns/net")
	if err != nil {
		return "unknown"
	}
	return fmt.Sprintf("inode-%d", info.Sys().(*syscall.Stat_t).Ino)
}

// monotonic returns the time of the host's monotonic clock.
func monotonic() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t) // every Linux has it
	return time.Duration(t.Nano())
}
