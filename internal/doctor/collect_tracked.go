package doctor

import (
	"bufio"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// readTracked reads the kernel's connection tracking: how full its table is, and which
// connections it saw half of.
func (h *Host) readTracked() {
	h.Tracked.Count, h.Tracked.Max = h.number("net.netfilter.nf_conntrack_count"), h.number("net.netfilter.nf_conntrack_max")
	f, err := os.Open("/proc/net/nf_conntrack") // not there without connection tracking, or without this file
	if err != nil {
		return
	}
	defer f.Close()
	h.Tracked.Halves = map[string]int{}
	lines := bufio.NewScanner(f)
	for n := 0; lines.Scan() && n < maxConns; n++ {
		line := lines.Text()
		if !strings.Contains(line, "SYN_SENT") || !strings.Contains(line, "[UNREPLIED]") {
			continue
		}
		h.Tracked.Halves[trackedTo(line)]++
	}
}

// trackedTo returns the destination of the first packet of an entry.
func trackedTo(line string) string {
	var dst netip.Addr
	for _, word := range strings.Fields(line) {
		name, value, _ := strings.Cut(word, "=")
		switch {
		case name == "dst" && !dst.IsValid():
			dst, _ = netip.ParseAddr(value)
		case name == "dport":
			port, _ := strconv.ParseUint(value, 10, 16)
			return netip.AddrPortFrom(dst, uint16(port)).String()
		}
	}
	return ""
}
