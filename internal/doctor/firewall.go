package doctor

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
)

// FilterRule is a rule of a packet filter, or the policy of a chain.
type FilterRule struct {
	Hook   string `json:"hook"`   // prerouting, input, forward, output, ingress, egress; empty: of no base chain
	Text   string `json:"text"`   // as nft or iptables writes it
	Where  string `json:"where"`  // inet filter input
	Delete string `json:"delete"` // the command that takes it away
}

// readFilters reads the rules of nftables and iptables, and whether the director's own table
// is there.
func (h *Host) readFilters(ctx context.Context) {
	h.Guarded = guarded()
	out, err := exec.CommandContext(ctx, "nft", "-a", "list", "ruleset").Output()
	if err == nil {
		h.Rules = parseNFT(string(out))
	} else {
		h.unseen("nftables (nft -a list ruleset)", errors.Unwrap(err))
	}
	for _, family := range []string{"", "6"} {
		names, _ := os.ReadFile("/proc/net/ip" + family + "_tables_names")
		if len(names) == 0 {
			continue // no table of the older iptables
		}
		tool := "ip" + family + "tables-legacy"
		out, err := exec.CommandContext(ctx, tool+"-save").Output()
		if err != nil {
			h.unseen("iptables ("+tool+"-save)", err)
			continue
		}
		h.Rules = append(h.Rules, parseIPTables(tool, string(out))...)
	}
}

// guarded reports whether the table is there with which the director keeps what it serves
// from the host's stack.
func guarded() bool {
	c, err := nftables.New()
	if err != nil {
		return false
	}
	tables, _ := c.ListTablesOfFamily(nftables.TableFamilyNetdev)
	return slices.ContainsFunc(tables, func(t *nftables.Table) bool { return t.Name == "uvs" || t.Name == "uvs2" })
}

var (
	nftHandle = regexp.MustCompile(` # handle (\d+).*$`)
	nftHook   = regexp.MustCompile(`\bhook (\w+)`)
	nftPolicy = regexp.MustCompile(`\bpolicy (\w+)`)
)

// parseNFT reads what nft -a list ruleset prints, without the director's own tables.
func parseNFT(text string) (rules []FilterRule) {
	var table, chain, hook string
	for line := range strings.Lines(text) {
		handle := nftHandle.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		line = strings.TrimSpace(nftHandle.ReplaceAllString(strings.TrimSuffix(line, "\n"), ""))
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case word == "table":
			table, chain = strings.TrimSuffix(rest, " {"), ""
		case word == "chain":
			chain, hook = strings.TrimSuffix(rest, " {"), ""
		case word == "}":
			chain = ""
		case strings.Contains(table, " uvs") || chain == "":
		case word == "type" && nftHook.MatchString(line):
			hook = nftHook.FindStringSubmatch(line)[1]
			if p := nftPolicy.FindStringSubmatch(line); p != nil && p[1] == "drop" {
				rules = append(rules, FilterRule{hook, "policy drop", table + " " + chain, "nft 'chain " + table + " " + chain + " { policy accept; }'"})
			}
		case handle != nil:
			rules = append(rules, FilterRule{hook, line, table + " " + chain, "nft delete rule " + table + " " + chain + " handle " + handle[1]})
		}
	}
	return rules
}

// parseIPTables reads what iptables-save prints.
func parseIPTables(tool, text string) (rules []FilterRule) {
	table := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		word, rest, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(line, "*"):
			table = line[1:]
		case strings.HasPrefix(line, ":"):
			if p := strings.Fields(rest); len(p) > 0 && p[0] == "DROP" {
				rules = append(rules, FilterRule{strings.ToLower(word[1:]), "policy drop", tool + " " + table + " " + word[1:],
					tool + " -t " + table + " -P " + word[1:] + " ACCEPT"})
			}
		case word == "-A":
			chain, _, _ := strings.Cut(rest, " ")
			rules = append(rules, FilterRule{strings.ToLower(chain), line, tool + " " + table + " " + chain,
				tool + " -t " + table + " -D " + rest})
		}
	}
	return rules
}

var (
	rulePort  = regexp.MustCompile(`\b(?:--)?dports? (?:!= )?(\{[^}]*\}|[\d:,-]+)`)
	ruleSport = regexp.MustCompile(`\b(?:--)?sports? (?:!= )?(\{[^}]*\}|[\d:,-]+)`)
	ruleDst   = regexp.MustCompile(`(?:\bip6? daddr|\s-d) (\{[^}]*\}|\S+)`)
	ruleProto = regexp.MustCompile(`\b(tcp|udp|sctp|icmp|icmpv6) |-p (tcp|udp|sctp|icmp|ipv6-icmp)|l4proto (\w+)`)
)

// drops reports whether a rule takes packets away.
func (r *FilterRule) drops() bool {
	for _, w := range strings.Fields(r.Text) {
		if slices.Contains([]string{"drop", "reject", "DROP", "REJECT"}, w) {
			// These take away only what is wrong, or too much.
			return !strings.Contains(r.Text, "invalid") && !strings.Contains(strings.ToLower(r.Text), "limit")
		}
	}
	return false
}

// concerns reports whether a rule is about packets of a protocol to an address and port.
// What the rule does not say, it means all of.
func (r *FilterRule) concerns(proto string, a []netip.Addr, port uint16) bool {
	if p := ruleProto.FindStringSubmatch(r.Text); p != nil && p[1]+p[2]+p[3] != proto {
		return false
	}
	if p := rulePort.FindStringSubmatch(r.Text); p != nil {
		if !hasPort(p[1], port) {
			return false
		}
	} else if p := ruleSport.FindStringSubmatch(r.Text); p != nil { // of the replies
		return hasPort(p[1], port)
	}
	if d := ruleDst.FindStringSubmatch(r.Text); d != nil {
		return slices.ContainsFunc(a, func(a netip.Addr) bool { return hasAddr(d[1], a) })
	}
	return true
}

// names reports whether a rule says one of the addresses or the port itself.
func (r *FilterRule) names(proto string, a []netip.Addr, port uint16) bool {
	return r.concerns(proto, a, port) && (rulePort.MatchString(r.Text) || ruleDst.MatchString(r.Text))
}

func hasPort(list string, port uint16) bool {
	for _, f := range strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune("{}, ", r) }) {
		first, last, ranged := strings.Cut(strings.ReplaceAll(f, ":", "-"), "-")
		lo, err := strconv.Atoi(first)
		if err != nil {
			continue
		}
		hi := lo
		if ranged {
			hi, _ = strconv.Atoi(last)
		}
		if lo <= int(port) && int(port) <= hi {
			return true
		}
	}
	return false
}

func hasAddr(list string, a netip.Addr) bool {
	for _, f := range strings.FieldsFunc(list, func(r rune) bool { return strings.ContainsRune("{}, ", r) }) {
		if p, err := netip.ParsePrefix(f); err == nil && p.Contains(a) {
			return true
		}
		if b, err := netip.ParseAddr(f); err == nil && a == b {
			return true
		}
	}
	return false
}
