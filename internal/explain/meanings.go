package explain

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"

	"uvs/forwarder/config"
	"uvs/forwarder/frame"
)

// meaningsText has a block for each verdict: its name, and what it means, its cause, the
// typical mistake that leads to it and what mends that. What it means is as in
// docs/verdicts.md, which a test compares.
//
//go:embed meanings.txt
var meaningsText string

var parsed = sync.OnceValue(func() map[string]config.Meaning { return parseMeanings(meaningsText) })

func parseMeanings(text string) map[string]config.Meaning {
	all := map[string]config.Meaning{}
	for block := range strings.SplitSeq(strings.TrimSpace(text), "\n\n") {
		code, rest, _ := strings.Cut(block, "\n")
		m := config.Meaning{Code: code}
		for line := range strings.Lines(rest) {
			word, sentence, _ := strings.Cut(strings.TrimSpace(line), " ")
			switch word {
			case "means":
				m.Means = sentence
			case "cause":
				m.Cause = sentence
			case "mistake":
				m.Mistake = sentence
			case "fix":
				m.Fix = sentence
			}
		}
		all[code] = m
	}
	return all
}

// Meaning returns what a verdict means. It may fail with config.ErrInvalid. Capitals and
// underlines are taken as well, as in DROP_NO_ROUTE.
func Meaning(code string) (config.Meaning, error) {
	name := strings.ReplaceAll(strings.ToLower(code), "_", "-")
	if m, ok := parsed()[name]; ok {
		return m, nil
	}
	return config.Meaning{}, &config.FieldError{Field: "code", Problem: fmt.Sprintf("there is no verdict %q; uvs stats -a lists them", code)}
}

// Meanings returns what all verdicts mean, in their order.
func Meanings() (all []config.Meaning) {
	for v := frame.Forward; int(v) < frame.Verdicts; v++ {
		if m, ok := parsed()[v.String()]; ok {
			all = append(all, m)
		}
	}
	return all
}
