package config

import (
	"strings"
	"testing"
)

// TestPathAndHostAreOneWord: rules files, in which each check is a line, know no quotes.
func TestPathAndHostAreOneWord(t *testing.T) {
	for text, ok := range map[string]bool{
		"":               true,
		"health":         true,
		"%20?a=b#c":      true,
		"grün":           true,
		"a b":            false,
		"a\tb":           false,
		"a\nb":           false,
		"a\vb":           false,
		"a\fb":           false,
		"a\x00b":         false,
		"a\x1b[2J":       false,
		"a\x7f":          false,
		"a\u0085b":       false,
		"a\u00a0b":       false,
		"a\u2003b":       false,
		"a\u2028b":       false,
		"a\u3000b":       false,
		"a\xffb":         false,
		"trailing\u00a0": false,
	} {
		path := Check{Kind: CheckHTTP, Path: "/" + text}
		if err := path.Validate(); (err == nil) != ok {
			t.Errorf("path %q: %v", path.Path, err)
		}
		host := Check{Kind: CheckHTTP, Host: text}
		if err := host.Validate(); (err == nil) != ok {
			t.Errorf("host %q: %v", text, err)
		}
		if words := strings.Fields("check add " + path.String()); ok && len(words) != 4 {
			t.Errorf("path %q: %q in a rules file", path.Path, words)
		}
	}
}
