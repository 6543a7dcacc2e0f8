package lint

import (
	"go/ast"
	"strings"
	"testing"
)

// Limits of form. A test's function may be longer: it is its table.
const (
	maxFuncLines = 50
	maxFileLines = 400
)

func TestFunctionsFitAScreenAndFilesHoldOneIdea(t *testing.T) {
	for _, s := range sources(t) {
		if n := s.fset.File(s.file.Pos()).LineCount(); n > maxFileLines {
			t.Errorf("%s: %d lines, %d at most", s.path, n, maxFileLines)
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && !s.test && s.lines(f) > maxFuncLines {
				t.Errorf("%s: %s has %d lines, %d at most", s.path, f.Name.Name, s.lines(f), maxFuncLines)
			}
		}
	}
}

func TestUnsafeStaysInTheFilesNamedForIt(t *testing.T) {
	for _, s := range sources(t) {
		for _, spec := range s.file.Imports {
			if spec.Path.Value == `"unsafe"` && !s.test && !strings.HasSuffix(s.path, "_unsafe.go") {
				t.Errorf("%s imports unsafe: a file that does ends in _unsafe.go", s.path)
			}
		}
	}
}

// These packages look for methods by names that are known only when the program runs. With one of
// them the linker keeps every exported method of every type: a quarter of the binary.
func TestTheLinkerMayLeaveOutMethods(t *testing.T) {
	reflective := map[string]bool{`"html/template"`: true, `"text/template"`: true, `"net/rpc"`: true}
	for _, s := range sources(t) {
		for _, spec := range s.file.Imports {
			if reflective[spec.Path.Value] && !s.test {
				t.Errorf("%s imports %s", s.path, spec.Path.Value)
			}
		}
	}
}

func TestWhatAPackageOffersSaysWhatItIs(t *testing.T) {
	for _, s := range sources(t) {
		if s.test || s.file.Name.Name == "main" {
			continue
		}
		for _, d := range s.file.Decls {
			for _, name := range undocumented(d) {
				t.Errorf("%s: %s has no doc comment", s.path, name)
			}
		}
	}
}

// undocumented returns the exported names a declaration leaves without a
// comment. Methods that make a type an error or a fmt.Stringer need none.
func undocumented(d ast.Decl) (names []string) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		common := d.Recv != nil && (d.Name.Name == "Error" || d.Name.Name == "String" || d.Name.Name == "Unwrap")
		if d.Name.IsExported() && receiverExported(d) && d.Doc == nil && !common {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			names = append(names, undocumentedSpec(spec, d.Doc != nil)...)
		}
	}
	return names
}

func undocumentedSpec(spec ast.Spec, group bool) (names []string) {
	switch s := spec.(type) {
	case *ast.TypeSpec:
		if s.Name.IsExported() && !group && s.Doc == nil {
			names = append(names, s.Name.Name)
		}
	case *ast.ValueSpec:
		for _, name := range s.Names {
			if name.IsExported() && !group && s.Doc == nil && s.Comment == nil {
				names = append(names, name.Name)
			}
		}
	}
	return names
}

// receiverExported reports whether a function is no method, or one of an
// exported type.
func receiverExported(f *ast.FuncDecl) bool {
	if f.Recv == nil {
		return true
	}
	typ := f.Recv.List[0].Type
	if star, ok := typ.(*ast.StarExpr); ok {
		typ = star.X
	}
	if generic, ok := typ.(*ast.IndexExpr); ok {
		typ = generic.X
	}
	name, ok := typ.(*ast.Ident)
	return ok && name.IsExported()
}
