// Deb makes Debian packages of uvs, one for each architecture, with dpkg-deb. Two builds of one
// commit are equal byte by byte: all times are those of the commit or of SOURCE_DATE_EPOCH.
//
//	go run ./packaging/deb -o dist -arch amd64,arm64
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// release is what is packaged.
type release struct {
	version string
	at      time.Time // of the commit
	source  string    // folder of the module
}

func main() {
	out := flag.String("o", "dist", "folder for the packages")
	archs := flag.String("arch", "amd64,arm64", "architectures, separated by commas")
	source := flag.String("source", ".", "folder of the module, another commit's say")
	version := flag.String("version", "", "version of the package (default: from the tag or the time of the commit)")
	flag.Parse()
	if err := run(*out, *source, *version, strings.Split(*archs, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "deb:", err)
		os.Exit(1)
	}
}

func run(out, source, version string, archs []string) error {
	r, err := describe(source, version)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	for _, arch := range archs {
		path := filepath.Join(out, fmt.Sprintf("uvs_%s_%s.deb", r.version, arch))
		if err := r.pack(path, arch); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		fmt.Println(path)
	}
	return nil
}

// describe finds the version and the time of the module in source. A tagged commit has the
// version of its tag; others sort by their time, below all releases.
func describe(source, version string) (*release, error) {
	seconds, name, err := commit(source)
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err = strconv.ParseInt(epoch, 10, 64)
	}
	if err != nil {
		return nil, fmt.Errorf("the time of the commit: %w; set SOURCE_DATE_EPOCH and -version where there is no repository", err)
	}
	at := time.Unix(seconds, 0).UTC()
	if version == "" {
		version = "0~" + at.Format("20060102150405") + "." + name
		if tag, err := command(source, "git", "describe", "--tags", "--exact-match", "--match", "v[0-9]*"); err == nil {
			version = strings.TrimPrefix(tag, "v")
		}
	}
	return &release{version, at, source}, nil
}

// commit returns the time of the commit and its short name.
func commit(source string) (seconds int64, name string, err error) {
	line, err := command(source, "git", "log", "-1", "--abbrev=9", "--format=%ct %h")
	if err != nil {
		return 0, "", err
	}
	_, err = fmt.Sscan(line, &seconds, &name)
	return seconds, name, err
}

// pack builds the binary for arch and the package around it.
func (r *release) pack(path, arch string) error {
	dir, err := os.MkdirTemp("", "uvs-deb-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	t := tree{root: filepath.Join(dir, "root"), release: r}
	binary := filepath.Join(dir, "uvs")
	if err := r.build(binary, arch); err != nil {
		return err
	}
	host := binary
	if arch != runtime.GOARCH {
		host = filepath.Join(dir, "uvs-here")
		if err := r.build(host, runtime.GOARCH); err != nil {
			return err
		}
	}
	if err := t.fill(binary, host); err != nil {
		return err
	}
	if err := t.control(arch); err != nil {
		return err
	}
	_, err = command("", "env", "SOURCE_DATE_EPOCH="+strconv.FormatInt(r.at.Unix(), 10),
		"dpkg-deb", "--root-owner-group", "--threads-max=1", "-Zxz", "-z3", "--build", t.root, path)
	return err
}

// command runs a program in dir and returns what it prints, without the last newline.
func command(dir, name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if exit, ok := err.(*exec.ExitError); ok {
		return "", fmt.Errorf("%s: %w: %s", name, err, exit.Stderr)
	}
	return strings.TrimSuffix(string(out), "\n"), err
}
