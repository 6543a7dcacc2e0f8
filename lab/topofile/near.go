package topofile

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"uvs/lab/wire"
)

// The words of each level of a file, in the order in which they are written.
var (
	topWords   = []string{"name", "title", "bare", "mtu", "offload", "seed", "nodes", "links", "check"}
	nodeWords  = []string{"role", "mode", "weight", "eth0", "gateway", "routes", "forward", "vip", "http", "ipvsadm", "setup", "services", "files"}
	linkWords  = []string{"ends", "mtu", "offload"}
	endWords   = append(append([]string{"to"}, wire.Names()...), "down")
	checkWords = []string{"name", "from", "on", "get", "to", "expect", "weights", "times", "size", "only", "through", "past", "command", "within", "hint"}
	hintWords  = []string{"en", "zh"}
	runWords   = []string{"run", "ready", "setup", "late"}
)

// Words returns all words of topology files, for completions and for the test of their
// description.
func Words() []string {
	return slices.Concat(topWords, nodeWords, linkWords, endWords, runWords, checkWords, hintWords)
}

// elsewhere says what to write instead of some words that people try.
var elsewhere = map[string]string{
	"lo":        "addresses of lo come with mode: dr or mode: tun, or by  setup: [ip addr add ADDRESS dev lo]",
	"address":   "addresses are those of an interface:  eth0: 10.0.0.1/24",
	"addresses": "addresses are those of an interface:  eth0: [10.0.0.1/24, 10.0.0.2/24]",
}

// unknown notes a word that a level does not have, with the nearest one that it has.
func (r *reader) unknown(key *yaml.Node, of string, words []string) {
	text := fmt.Sprintf("unknown word %q in %s", key.Value, of)
	if hint := elsewhere[key.Value]; hint != "" {
		r.wrong(key, "%s: %s", text, hint)
		return
	}
	if nearest(key.Value, words) == "" {
		switch {
		case slices.Contains(nodeWords, key.Value):
			text += ": it is a word of a node"
		case slices.Contains(topWords, key.Value):
			text += ": it is a word of the topology"
		}
	}
	r.wrong(key, "%s%s", text, suggest(key.Value, words))
}

// suggest ends a message about an unknown word: with the nearest known one, and with all.
func suggest(word string, known []string) string {
	if near := nearest(word, known); near != "" {
		return fmt.Sprintf("; did you mean %q? Expected one of: %s", near, strings.Join(known, ", "))
	}
	return "; expected one of: " + strings.Join(known, ", ")
}

// nearest returns the known word from which a word differs in the fewest letters; none, if those
// are more than a third of it.
func nearest(word string, known []string) string {
	best, least := "", max(1, len(word)/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is how many letters have to be added, removed, changed or swapped with the next to make
// a word another (Damerau and Levenshtein, each letter changed once). Long words are far from all.
func distance(a, b string) int {
	if len(a) > 40 || len(b) > 40 {
		return 100
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
