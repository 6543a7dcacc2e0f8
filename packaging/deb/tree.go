package main

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"crypto/md5"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// tree is what the package installs, as a folder.
type tree struct {
	root string
	*release
}

// copies are files of the source, where they go and with which mode.
var copies = []struct {
	from, to string
	mode     fs.FileMode
}{
	{"docs/systemd/uvs.service", "usr/lib/systemd/system/uvs.service", 0o644},
	{"packaging/debian/uvs-proc.service", "usr/lib/systemd/system/uvs-proc.service", 0o644},
	{"packaging/debian/sysusers", "usr/lib/sysusers.d/uvs.conf", 0o644},
	{"packaging/debian/default", "etc/default/uvs", 0o644},
	{"packaging/debian/init", "etc/init.d/uvs", 0o755},
	{"packaging/debian/overrides", "usr/share/lintian/overrides/uvs", 0o644},
	{"packaging/completion/ipvsadm", "usr/share/bash-completion/completions/ipvsadm", 0o644},
	{"docs/systemd/ipvsadm.service", "usr/share/doc/uvs/examples/systemd/ipvsadm.service", 0o644},
	{"docs/systemd/keepalived.service.d/uvs.conf", "usr/share/doc/uvs/examples/systemd/keepalived.service.d/uvs.conf", 0o644},
}

// shells are the files of completions, by the shell's name.
var shells = map[string]string{
	"bash": "usr/share/bash-completion/completions/uvs",
	"zsh":  "usr/share/zsh/vendor-completions/_uvs",
	"fish": "usr/share/fish/vendor_completions.d/uvs.fish",
}

// fill puts all files in place. Here is a binary that runs on this machine and writes what the
// other would.
func (t *tree) fill(binary, here string) error {
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	if err := t.write("usr/sbin/uvs", program, 0o755); err != nil {
		return err
	}
	for _, c := range copies {
		text, err := os.ReadFile(filepath.Join(t.source, c.from))
		if err != nil {
			return err
		}
		if err := t.write(c.to, text, c.mode); err != nil {
			return err
		}
	}
	for shell, path := range shells {
		text, err := command("", here, "completion", shell)
		if err != nil {
			return err
		}
		if err := t.write(path, []byte(text+"\n"), 0o644); err != nil {
			return err
		}
	}
	if err := t.tools(); err != nil {
		return err
	}
	if err := t.manual(here); err != nil {
		return err
	}
	return t.documents(binary)
}

// tools makes the names by which the binary is ipvsadm, for update-alternatives.
func (t *tree) tools() error {
	dir := filepath.Join(t.root, "usr/lib/uvs")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"ipvsadm", "ipvsadm-save", "ipvsadm-restore"} {
		if err := os.Symlink("../../sbin/uvs", filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// manual installs the man pages, those written by hand and those of the other commands.
func (t *tree) manual(here string) error {
	dir, err := os.MkdirTemp("", "uvs-man-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if _, err := command("", here, "manual", "--date", t.at.Format(time.DateOnly), dir); err != nil {
		return err
	}
	for _, from := range []string{dir, filepath.Join(t.source, "packaging/man")} {
		pages, err := filepath.Glob(filepath.Join(from, "*.8"))
		if err != nil {
			return err
		}
		for _, p := range pages {
			if err := t.compress("usr/share/man/man8/"+filepath.Base(p)+".gz", p); err != nil {
				return err
			}
		}
	}
	return nil
}

// documents installs what is said about the package: licences, changes, the list of all that
// is linked.
func (t *tree) documents(binary string) error {
	linked, err := linkedIn(binary, t.source)
	if err != nil {
		return err
	}
	text, err := copyright(linked)
	if err != nil {
		return err
	}
	if err := t.write("usr/share/doc/uvs/copyright", text, 0o644); err != nil {
		return err
	}
	bill, err := t.bill(binary, linked)
	if err != nil {
		return err
	}
	if err := t.write("usr/share/doc/uvs/sbom.spdx.json", bill, 0o644); err != nil {
		return err
	}
	changes := fmt.Sprintf("uvs (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md for what has changed.\n\n -- %s  %s\n",
		t.version, maintainer(), t.at.Format(time.RFC1123Z))
	if err := t.gzip("usr/share/doc/uvs/changelog.gz", []byte(changes)); err != nil {
		return err
	}
	return t.compress("usr/share/doc/uvs/CHANGELOG.md.gz", filepath.Join(t.source, "CHANGELOG.md"))
}

// maintainer returns whom the package names: whoever makes it, as Debian's tools have it.
func maintainer() string {
	name, mail := os.Getenv("DEBFULLNAME"), os.Getenv("DEBEMAIL")
	return cmp.Or(name, "uvs maintainers") + " <" + cmp.Or(mail, "uvs@localhost.localdomain") + ">"
}

// control writes what dpkg reads.
func (t *tree) control(arch string) error {
	size, sums, err := t.sums()
	if err != nil {
		return err
	}
	head, err := os.ReadFile(filepath.Join(t.source, "packaging/debian/control"))
	if err != nil {
		return err
	}
	text := strings.NewReplacer("@version@", t.version, "@arch@", arch, "@size@", fmt.Sprint(size),
		"@maintainer@", maintainer()).Replace(string(head))
	for name, file := range map[string]string{"control": text, "md5sums": sums, "conffiles": "/etc/default/uvs\n/etc/init.d/uvs\n"} {
		if err := t.write("DEBIAN/"+name, []byte(file), 0o644); err != nil {
			return err
		}
	}
	for name, mode := range map[string]fs.FileMode{"triggers": 0o644, "postinst": 0o755, "prerm": 0o755, "postrm": 0o755} {
		text, err := os.ReadFile(filepath.Join(t.source, "packaging/debian", name))
		if err != nil {
			return err
		}
		if err := t.write("DEBIAN/"+name, text, mode); err != nil {
			return err
		}
	}
	return nil
}

// sums returns the size of all files in KiB and their MD5 sums, which dpkg --verify reads.
func (t *tree) sums() (kib int64, sums string, err error) {
	err = filepath.WalkDir(t.root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		kib += int64(len(text)+1023) / 1024
		name := strings.TrimPrefix(path, t.root+"/")
		if !strings.HasPrefix(name, "etc/") {
			sums += fmt.Sprintf("%x  %s\n", md5.Sum(text), name)
		}
		return nil
	})
	return kib, sums, err
}

// write puts a file in place. The mode does not depend on the umask.
func (t *tree) write(name string, text []byte, mode fs.FileMode) error {
	path := filepath.Join(t.root, name)
	for dir := filepath.Dir(path); dir != filepath.Dir(t.root); dir = filepath.Dir(dir) {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(path, text, mode); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// compress puts the file from in place, compressed.
func (t *tree) compress(name, from string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return t.gzip(name, text)
}

// gzip writes a compressed file without a name or a time in it.
func (t *tree) gzip(name string, text []byte) error {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(text); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return t.write(name, b.Bytes(), 0o644)
}
