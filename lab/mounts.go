package lab

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Paths of the lab's own files, on a tmpfs that only the lab's mount namespace has.
const (
	runDir      = "/run"
	netnsDir    = runDir + "/netns"   // one bind mount per node, as ip-netns(8) wants it
	binDir      = runDir + "/uvs/bin" // uvs, the ipvsadm names, sysctl: before the host's in PATH
	fallbackDir = runDir + "/uvs/fallback"
	binary      = binDir + "/uvs"
	innerSocket = runDir + "/uvs/lab.sock"
)

// Names under which the binary is in a node's PATH. The fallbacks come last, for hosts
// that lack the tool. By the names of keepalived and ldirectord it runs the host's under a
// shim. Our sysctl leaves parameters that are not the director's to the
// host's sysctl, if there is one.
var (
	ownNames      = []string{"ipvsadm", "ipvsadm-save", "ipvsadm-restore", "sysctl", "keepalived", "ldirectord"}
	fallbackNames = []string{"curl", "ping"}
)

// mountPrivate gives the lab its own view of files: /proc of its process namespace, and
// a /run with the binary under all its names. The binary is bind-mounted there, so it
// stays when "go run" removes it from the host.
func mountPrivate(program string) error {
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("lab: make mounts private: %w", err)
	}
	// Opened before /run is covered: the binary may be there.
	src, err := os.Open(program)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	defer src.Close()
	if err := unix.Mount("uvs-lab", runDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
		return fmt.Errorf("lab: mount a private %s: %w", runDir, err)
	}
	for _, d := range []string{netnsDir, binDir, fallbackDir} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return fmt.Errorf("lab: %w", err)
		}
	}
	if err := install(src, binary); err != nil {
		return err
	}
	if err := linkNames(); err != nil {
		return err
	}
	// Last, because it changes what /proc/self is. Containers that hide parts of
	// /proc refuse it; the old one is nearly as good.
	_ = unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	return nil
}

// Directory is where the node has its files, in every node alike.
func (n *Node) Directory() string { return filepath.Join(runDir, n.Name) }

// writeFiles writes the files of the nodes.
func (s *supervisor) writeFiles() error {
	for i := range s.Topology.Nodes {
		if err := s.Topology.Nodes[i].writeFiles(); err != nil {
			return fmt.Errorf("lab: %w", err)
		}
	}
	return nil
}

func (n *Node) writeFiles() error {
	if len(n.Files) == 0 {
		return nil
	}
	if err := os.MkdirAll(n.Directory(), 0o755); err != nil {
		return err
	}
	for _, f := range n.Files {
		if err := os.WriteFile(filepath.Join(n.Directory(), f.Name), []byte(f.Text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// linkNames makes the symlinks whose names tell the binary which tool it is.
func linkNames() error {
	for _, l := range []struct {
		dir   string
		names []string
	}{{binDir, ownNames}, {fallbackDir, fallbackNames}} {
		for _, n := range l.names {
			if err := os.Symlink(binary, filepath.Join(l.dir, n)); err != nil {
				return fmt.Errorf("lab: %w", err)
			}
		}
	}
	return nil
}

// install puts the program src at dst: by a bind mount, or as a copy if its mount
// belongs to another namespace, as that of /proc/self/exe does.
func install(src *os.File, dst string) error {
	if bind(fmt.Sprintf("/proc/self/fd/%d", src.Fd()), dst) == nil {
		return nil
	}
	f, err := os.OpenFile(dst, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o755)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	defer f.Close()
	if _, err := io.Copy(f, src); err != nil {
		return fmt.Errorf("lab: copy the program: %w", err)
	}
	return nil
}

// bind mounts the file src on a new file dst.
func bind(src, dst string) error {
	f, err := os.OpenFile(dst, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o755)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	f.Close()
	if err := unix.Mount(src, dst, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("lab: bind %s on %s: %w", src, dst, err)
	}
	return nil
}

// mountNode gives the calling thread, which is alone in its mount namespace, the /sys
// of its network namespace, and no name servers, so that a lookup fails at once and not
// after a timeout.
func mountNode() {
	// Like proc, sysfs may be refused: then /sys shows the host's links.
	_ = unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	if _, err := os.Stat("/etc/resolv.conf"); !errors.Is(err, os.ErrNotExist) {
		_ = unix.Mount("/dev/null", "/etc/resolv.conf", "", unix.MS_BIND, "")
	}
}
