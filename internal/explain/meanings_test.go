package explain

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"uvs/forwarder/frame"
)

var link = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)

// TestEachVerdictHasItsMeaningAsDocumented compares the meanings with docs/verdicts.md.
func TestEachVerdictHasItsMeaningAsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/verdicts.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(doc)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
		if len(cells) == 2 {
			text := strings.ReplaceAll(link.ReplaceAllString(cells[1], "$1"), "`", "")
			rows[strings.Trim(strings.TrimSpace(cells[0]), "`")] = strings.TrimSpace(text)
		}
	}
	for v := frame.Forward; int(v) < frame.Verdicts; v++ {
		m, err := Meaning(v.String())
		if err != nil {
			t.Errorf("%v has no meaning", v)
			continue
		}
		if m.Cause == "" || m.Mistake == "" || m.Fix == "" {
			t.Errorf("%v lacks cause, mistake or fix: %+v", v, m)
		}
		if m.Means != rows[v.String()] {
			t.Errorf("%v means\n%s\nand in docs/verdicts.md\n%s", v, m.Means, rows[v.String()])
		}
	}
	if n := len(parsed()); n != frame.Verdicts-1 {
		t.Errorf("%d meanings for %d verdicts", n, frame.Verdicts-1)
	}
	if m, err := Meaning("DROP_NO_ROUTE"); err != nil || m.Code != "drop-no-route" {
		t.Errorf("in capitals: %+v, %v", m, err)
	}
	if _, err := Meaning("nonsense"); err == nil {
		t.Error("nonsense is a verdict")
	}
}
