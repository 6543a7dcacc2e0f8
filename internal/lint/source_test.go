package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// source is one Go file of this module.
type source struct {
	path string // from the module's root
	pkg  string // its folder
	test bool
	fset *token.FileSet
	file *ast.File
}

// lines returns how many lines a node takes.
func (s *source) lines(n ast.Node) int {
	return s.fset.Position(n.End()).Line - s.fset.Position(n.Pos()).Line + 1
}

// sources parses all Go files of this module.
func sources(t *testing.T) []*source {
	t.Helper()
	root := filepath.Join("..", "..")
	var all []*source
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != root && (d.Name() == "vendor" || d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".")) {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		s := &source{fset: token.NewFileSet(), test: strings.HasSuffix(path, "_test.go")}
		if s.file, err = parser.ParseFile(s.fset, path, nil, parser.ParseComments); err != nil {
			return err
		}
		s.path, err = filepath.Rel(root, path)
		s.pkg = filepath.Dir(s.path)
		all = append(all, s)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 100 {
		t.Fatalf("only %d files found", len(all))
	}
	return all
}
