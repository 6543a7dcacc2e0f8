package lint

import (
	"go/ast"
	"strings"
	"testing"
)

// What a director does must not depend on the wall clock, which an administrator or NTP
// may set: a time.Time that came from time.Now keeps the monotonic clock, unless it is
// converted.
func TestTheEngineDoesNotUseTheWallClock(t *testing.T) {
	wall := map[string]bool{"Unix": true, "UnixNano": true, "UnixMicro": true, "UnixMilli": true, "CLOCK_REALTIME": true}
	for _, s := range sources(t) {
		engine := strings.HasPrefix(s.path, "forwarder/") || strings.HasPrefix(s.path, "conntrack/") ||
			strings.HasPrefix(s.path, "sched/") || strings.HasPrefix(s.path, "modes/")
		if s.test || !engine {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok && wall[sel.Sel.Name] {
				t.Errorf("%s: %s reads the wall clock", s.fset.Position(n.Pos()), sel.Sel.Name)
			}
			return true
		})
	}
}
