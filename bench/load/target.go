package load

import (
	"fmt"
	"strings"
)

// Method is how a target forwards, in ipvsadm's words where it is ours.
type Method string

// Methods of targets. The first four are the director's.
const (
	DR      Method = "dr"
	NAT     Method = "nat"
	Tunnel  Method = "tun"
	FullNAT Method = "fullnat"
	Null    Method = "null"  // only the MAC addresses change
	Route   Method = "route" // no balancer: the kernel forwards
	DNAT    Method = "nft"   // nftables DNAT in the kernel

	HAProxy Method = "haproxy" // mode tcp
	Nginx   Method = "nginx"   // stream

	KernelNAT    Method = "ipvs" // IPVS in the kernel, -m
	KernelDR     Method = "ipvs-dr"
	KernelTunnel Method = "ipvs-tun"
)

// Methods are all of them.
var Methods = []Method{Null, DR, NAT, Tunnel, FullNAT, Route, DNAT, HAProxy, Nginx, KernelNAT, KernelDR, KernelTunnel}

// Equivalent is what a frame looks like behind the target, in the director's words.
func (m Method) Equivalent() Method {
	switch m {
	case KernelNAT, DNAT:
		return NAT
	case KernelDR:
		return DR
	case KernelTunnel:
		return Tunnel
	}
	return m
}

// Target is one thing that is measured.
type Target struct {
	Method    Method `json:"method"`
	IO        string `json:"io,omitempty"`           // of the director or null forwarder: ring or socket
	Profile   string `json:"profile,omitempty"`      // of ring ports: latency or throughput
	Scheduler string `json:"scheduler,omitempty"`    // of the director
	Workers   int    `json:"workers,omitempty"`      // of the director, an interface; 0 is one
	Stateless bool   `json:"stateless,omitempty"`    // of the director: --state none
	Program   string `json:"program,omitempty"`      // another uvs binary, empty for this one
	Plain     bool   `json:"offloads_off,omitempty"` // checksum and segmentation offload and GRO off on its lane
	Again     bool   `json:"again,omitempty"`        // the same as another target, for the A/A run
}

// String names the target in tables: "nat", "dr/socket", "nat/throughput/w2".
// What is usual is left out.
func (t Target) String() string {
	words := []string{string(t.Method)}
	for _, w := range []struct{ word, usual string }{{t.IO, "ring"}, {t.Profile, "latency"}, {t.Scheduler, "rr"}} {
		if w.word != "" && w.word != w.usual {
			words = append(words, w.word)
		}
	}
	if t.Workers > 1 {
		words = append(words, fmt.Sprintf("w%d", t.Workers))
	}
	for _, w := range []struct {
		word string
		on   bool
	}{{"stateless", t.Stateless}, {"plain", t.Plain}, {"other", t.Program != ""}, {"again", t.Again}} {
		if w.on {
			words = append(words, w.word)
		}
	}
	return strings.Join(words, "/")
}

// IsDirector reports whether the target is a director.
func (t Target) IsDirector() bool {
	switch t.Method {
	case DR, NAT, Tunnel, FullNAT:
		return true
	}
	return false
}

// DirectReturn reports whether servers answer the clients themselves.
func (t Target) DirectReturn() bool {
	m := t.Method.Equivalent()
	return m == DR || m == Tunnel
}

// Process is what targets share a process by: directors with equal options are
// one process with a service for each method.
func (t Target) Process() string {
	if t.IsDirector() {
		t.Method, t.Scheduler = "director", ""
	}
	return t.String()
}

// RepliesPass reports whether what servers answer goes through the target.
func (t Target) RepliesPass() bool { return !t.DirectReturn() }

// KernelIPVS reports whether the target is the kernel's own virtual server.
func (t Target) KernelIPVS() bool {
	switch t.Method {
	case KernelNAT, KernelDR, KernelTunnel:
		return true
	}
	return false
}
