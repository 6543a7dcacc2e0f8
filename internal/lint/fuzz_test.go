package lint

import (
	"go/ast"
	"os"
	"strings"
	"testing"
)

func TestEveryFuzzTargetIsListed(t *testing.T) {
	text, err := os.ReadFile("../../docs/contributing.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if ok && s.test && strings.HasPrefix(f.Name.Name, "Fuzz") && !strings.Contains(string(text), "`"+f.Name.Name+"`") {
				t.Errorf("%s: %s is not in docs/contributing.md", s.path, f.Name.Name)
			}
		}
	}
}
