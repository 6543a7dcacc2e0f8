package lint

import (
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"uvs/forwarder/config"
)

// logCalls are the methods of a slog.Logger that take attributes.
var logCalls = []string{"Debug", "Info", "Warn", "Error", "Log", "With"}

// eventNames returns the names of events in the code: those after the attribute "event" of a
// log line, and those in fields called event, which such an attribute takes from there.
func eventNames(t *testing.T) map[string]token.Position {
	names := map[string]token.Position{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		note := func(e ast.Expr) {
			lit, ok := e.(*ast.BasicLit)
			if !ok {
				return
			}
			name, err := strconv.Unquote(lit.Value)
			if err != nil {
				t.Errorf("%s: the name of an event is a string", s.fset.Position(e.Pos()))
			}
			names[name] = s.fset.Position(e.Pos())
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				sel, ok := n.Fun.(*ast.SelectorExpr)
				if !ok || !slices.Contains(logCalls, sel.Sel.Name) {
					break
				}
				for i, arg := range n.Args[:max(len(n.Args)-1, 0)] {
					if lit, ok := arg.(*ast.BasicLit); ok && lit.Value == `"event"` {
						note(n.Args[i+1])
					}
				}
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && key.Name == "event" {
					note(n.Value)
				}
			}
			return true
		})
	}
	return names
}

func TestEachEventHasItsRowInTheTable(t *testing.T) {
	text, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	_, table, _ := strings.Cut(string(text), "## Names")
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(table, -1) {
		if listed[row[1]] {
			t.Errorf("docs/events.md has %s twice", row[1])
		}
		listed[row[1]] = true
	}
	names := eventNames(t)
	for name, at := range names {
		if !listed[name] {
			t.Errorf("%s: the event %q has no row in docs/events.md", at, name)
		}
	}
	for name := range listed {
		if _, ok := names[name]; !ok && name != config.EventsMissed {
			t.Errorf("docs/events.md has a row for the event %q, which no log line has", name)
		}
	}
}
