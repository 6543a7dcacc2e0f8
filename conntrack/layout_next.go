//go:build nextlayout

package conntrack

// A program that is built with the tag nextlayout has the layout that comes next, with the
// same fields: tests have it take over from one without the tag, and the other way
// round.
func init() {
	next := layouts[0]
	next.version++
	layouts = []layout{next, layouts[0]}
}
