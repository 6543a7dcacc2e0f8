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
	"forwarder/ftp":    0,
	"forwarder/cookie": 1,
	"forwarder/sip":    0,
	"internal/ethtool": 0,
	"internal/fdstore": 0,
	"internal/lang":    0,
	"internal/lean":    0,
	"internal/manual":  0,

	"forwarder/frame/frametest": 0,
	"forwarder/connsync":        1,
	"forwarder/syncnet":         1,

	"internal/peer":      0,
	"internal/privilege": 0,
	"internal/keeper":    1,
	"forwarder/state":    0,

	"sched": 1,

	"conntrack":        2,
	"forwarder/config": 2,
	"sched/sim":        2,

	"modes": 3,

	"internal/events": 3,

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
	"forwarder/sysctl":   4,
	"forwarder/socket":   4,
	"forwarder/tap":      4,

	"forwarder/tracefilter": 4,

	"forwarder/plan":  5,
	"forwarder/check": 5,

	"forwarder":                  6,
	"forwarder/porttest/conform": 6,

	// What surrounds the engine, from the bottom up.
	"internal/decap":    7,
	"internal/features": 7,
	"internal/get":      7,
	"internal/mark":     7,
	"internal/nstest":   7,
	"internal/ping":     7,
	"internal/sysctl":   7,
	"internal/explain":  5,
	"internal/top":      7,
	"internal/pcapng":   0,
	"internal/web":      7,
	"internal/page":     7,
	"internal/control":  7,
	"internal/metrics":  7,
	"internal/ipvsadm":  7,
	"internal/policy":   8,
	"internal/synproxy": 8,
	"internal/viprole":  8,
	"internal/check":    8,
	"internal/proc":     8,
	"internal/ipvsnl":   8,
	"internal/shim":     9,
	"internal/rules":    9,

	"internal/control/controltest": 7,

	// A whole director, for programs that import this module.
	"internal/rulesfile": 10,
	"forwarder/director": 11,

	// The real kernel, in a VM.
	"internal/kernelvm":           7,
	"internal/kernelvm/recording": 8,
	"internal/kernelvm/askkernel": 9,

	"lab/wire":        7,
	"lab":             10,
	"lab/capture":     11,
	"lab/graph":       11,
	"lab/journey":     12,
	"lab/labtest":     11,
	"lab/learn":       11,
	"lab/topofile":    11,
	"internal/doctor": 11,
	"bench/load":      12,
	"bench/report":    13,
	"bench":           14,
	"cmd/uvs":         15,
	"docs/example":    15,

	"packaging/deb": 0,

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
