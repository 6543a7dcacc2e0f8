// Package imports holds the test that keeps the imports of this module running
// one way: frame ← sched ← conntrack ← modes ← forwarder ← lab, bench, cmd.
package imports
