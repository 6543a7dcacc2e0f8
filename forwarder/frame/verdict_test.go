package frame

import (
	"os"
	"strings"
	"testing"
)

// TestEveryVerdictIsDocumented checks that docs/verdicts.md is complete.
func TestEveryVerdictIsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/verdicts.md")
	if err != nil {
		t.Fatal(err)
	}
	for v := Forward; int(v) < Verdicts; v++ {
		if !strings.Contains(string(doc), "| `"+v.String()+"` |") {
			t.Errorf("%v is not in docs/verdicts.md", v)
		}
	}
}
