package main

import (
	"fmt"
	"log/slog"
	"strings"

	"golang.org/x/sys/unix"

	"uvs/forwarder/afpacket"
	"uvs/forwarder/host"
	"uvs/forwarder/port"
	"uvs/forwarder/socket"
	"uvs/forwarder/tap"
)

// newDriver returns the driver that --io and --profile name.
func newDriver(io, profile string, gro *afpacket.GRO, log *slog.Logger) (port.Driver, error) {
	p, err := afpacket.ParseProfile(profile)
	if err != nil {
		return nil, fmt.Errorf("--profile: %w", err)
	}
	ring := host.Driver{Driver: afpacket.Driver{Profile: p, GRO: gro, Log: log}}
	kind, name, _ := strings.Cut(io, ":")
	switch {
	case io == "ring":
		return ring, nil
	case io == "socket":
		return host.Driver{Driver: socket.Driver{}}, nil
	case kind == "tap" && len(name) >= unix.IFNAMSIZ: // the kernel would cut it, and nobody find the device
		return nil, fmt.Errorf("--io %q: an interface's name has %d bytes at most", io, unix.IFNAMSIZ-1)
	case kind == "tap" && name != "":
		d, err := tap.NewDriver(tap.Config{Name: name}, ring)
		if err != nil {
			return nil, err
		}
		return d, nil
	}
	return nil, fmt.Errorf("--io %q: ring, socket or tap:NAME", io)
}

// hostLink returns the name of the device --io makes for the host, or "".
func hostLink(io string) string {
	if name, ok := strings.CutPrefix(io, "tap:"); ok {
		return name
	}
	return ""
}
