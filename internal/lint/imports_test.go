package lint

import (
	"strconv"
	"strings"
	"testing"
)

// module is the path all of this module's packages begin with.
const module = "uvs/"

// ranks orders the packages along the path of a packet. A package may import those
// of a lower rank. Each is listed: a new one has to find its place here.
var ranks = map[string]int{
	"forwarder/frame":  0,
	"internal/ethtool": 0,
	"internal/peer":    0,

	"sched": 1,

	"conntrack":        2,
	"forwarder/config": 2,
	"sched/sim":        2,

	"modes": 3,

	// Below the leaves: what the director asks of a port, in terms of the links
	// that neigh follows.
	"forwarder/neigh": 2,
	"forwarder/port":  3,

	// The leaves beside the engine, which do not know each other.
	"forwarder/afpacket": 4,
	"forwarder/client":   4,
	"forwarder/filter":   4,
	"forwarder/guard":    4,
	"forwarder/host":     4,
	"forwarder/porttest": 4,
	"forwarder/service":  4,
	"forwarder/socket":   4,
	"forwarder/tap":      4,

	"forwarder":                  5,
	"forwarder/porttest/conform": 5,

	// What surrounds the engine, from the bottom up.
	"internal/decap":   6,
	"internal/get":     6,
	"internal/mark":    6,
	"internal/nstest":  6,
	"internal/ping":    6,
	"internal/sysctl":  6,
	"internal/trace":   6,
	"internal/web":     6,
	"internal/control": 6,
	"internal/ipvsadm": 6,
	"internal/policy":  7,
	"internal/proc":    7,
	"internal/rules":   8,

	"internal/control/controltest": 6,

	// The real kernel, in a VM.
	"internal/kernelvm":           6,
	"internal/kernelvm/recording": 7,
	"internal/kernelvm/askkernel": 8,

	"lab":          9,
	"lab/labtest":  10,
	"bench/load":   11,
	"bench/report": 12,
	"bench":        13,
	"cmd/uvs":      14,

	"internal/lint": 0,
}

func TestImportsRunOneWay(t *testing.T) {
	for _, s := range sources(t) {
		from, known := ranks[s.pkg]
		if !known {
			t.Errorf("%s: package %s has no place along the path of a packet", s.path, s.pkg)
			continue
		}
		if s.test {
			continue // a test may use what stands above
		}
		for _, spec := range s.file.Imports {
			path, _ := strconv.Unquote(spec.Path.Value)
			to, ours := strings.CutPrefix(path, module)
			if !ours {
				continue
			}
			if rank, known := ranks[to]; !known || rank >= from {
				t.Errorf("%s: %s imports %s against the path of a packet", s.path, s.pkg, to)
			}
		}
	}
}

func TestEachRankIsOfAPackage(t *testing.T) {
	found := map[string]bool{}
	for _, s := range sources(t) {
		found[s.pkg] = true
	}
	for pkg := range ranks {
		if !found[pkg] {
			t.Errorf("package %s is listed and does not exist", pkg)
		}
	}
}
