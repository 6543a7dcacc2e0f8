package imports

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// ranks orders the folders along the packet's way. A package may import
// packages of a lower rank, and of its own rank within the same folder. The
// longest prefix of a path counts.
var ranks = map[string]int{
	"forwarder/frame":  0,
	"sched":            1,
	"forwarder/config": 2,
	"conntrack":        2,
	"modes":            3,
	"forwarder":        5,
	"internal":         6,
	"lab":              7,
	"bench":            8,
	"cmd":              9,

	// The leaves beside the engine, which wires them but which they do not know.
	"forwarder/afpacket": 4,
	"forwarder/tap":      4,
	"forwarder/porttest": 4,
	"forwarder/neigh":    4,
	"forwarder/guard":    4,
	"forwarder/filter":   4,
	"forwarder/client":   4,
	"internal/peer":      0,
}

func rank(path string) (int, string) {
	for p := path; p != "." && p != "/"; p = filepath.Dir(p) {
		if r, ok := ranks[p]; ok {
			return r, p
		}
	}
	return -1, ""
}

func TestImportsRunOneWay(t *testing.T) {
	root := filepath.Join("..", "..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == "vendor" || strings.HasPrefix(d.Name(), ".") && path != root) {
			return filepath.SkipDir
		}
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		from, _ := filepath.Rel(root, filepath.Dir(path))
		for _, spec := range file.Imports {
			to, _ := strconv.Unquote(spec.Path.Value)
			if to, ok := strings.CutPrefix(to, "uvs/"); ok {
				check(t, path, from, to)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func check(t *testing.T, path, from, to string) {
	fr, ff := rank(from)
	tr, tf := rank(to)
	switch {
	case fr < 0:
		t.Errorf("%s: folder %s has no place along the packet's way", path, from)
	case tr < 0:
		t.Errorf("%s: imports %s, which has no place along the packet's way", path, to)
	case tr > fr, tr == fr && ff != tf:
		t.Errorf("%s: %s imports %s against the packet's way", path, from, to)
	}
}
