package main

import "path/filepath"

// quiet are packages that no packet of a connection passes through. Without inlining they are some
// 8 % smaller.
var quiet = []string{
	"uvs/cmd/uvs", "uvs/internal/...", "uvs/lab/...", "uvs/bench", "uvs/bench/report",
	"uvs/sched/sim", "uvs/forwarder/check", "uvs/forwarder/client", "uvs/forwarder/director",
	"google.golang.org/protobuf/...", "github.com/...", "go.yaml.in/...", "golang.org/x/...", "vendor/...",
	"net", "net/http/...", "net/url", "net/textproto", "crypto/...", "encoding/...", "regexp/...", "mime/...", "math/big",
	"compress/...", "log/...", "text/...", "html", "fmt", "os/...", "io/...", "path/...", "strconv", "strings", "reflect",
	"unicode/...", "sort", "bufio", "context", "flag",
}

// swift are those of the patterns above that packets do pass through.
var swift = []string{"github.com/google/gopacket/...", "github.com/mdlayher/packet", "golang.org/x/sys/...", "encoding/binary"}

// build builds a binary for arch without symbols, and without HTTP/2, which nothing here needs.
// Functions begin at 16 bytes, as on arm64: at 32, 1 % of the binary is padding.
func (r *release) build(path, arch string) error {
	target, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	args := []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch,
		"go", "build", "-trimpath", "-buildvcs=auto", "-ldflags=-s -w -funcalign=16", "-tags=nethttpomithttp2"}
	for _, p := range quiet {
		args = append(args, "-gcflags="+p+"=-l")
	}
	for _, p := range swift {
		args = append(args, "-gcflags="+p+"=")
	}
	_, err = command(r.source, "env", append(args, "-o", target, "./cmd/uvs")...)
	return err
}
