package lab_test

import (
	"testing"

	"uvs/lab"
)

func TestSessionsAreTheSameOnlyIfAllThatIsKnownAgrees(t *testing.T) {
	here := lab.Session{ID: 7, Started: 100, PIDNamespace: 4026531836}
	outside := lab.Session{PIDNamespace: 4026531836}
	for name, c := range map[string]struct {
		a, b lab.Session
		want bool
	}{
		"a terminal is the same as itself":                       {here, here, true},
		"an older session had the same number":                   {here, lab.Session{ID: 7, Started: 99, PIDNamespace: 4026531836}, false},
		"another container has the same number":                  {here, lab.Session{ID: 7, Started: 100, PIDNamespace: 4026532000}, false},
		"what came in from outside this PID namespace is one":    {outside, outside, true},
		"what came into another PID namespace is another":        {outside, lab.Session{PIDNamespace: 4026532000}, false},
		"what is not known is not the same, even as the unknown": {lab.Session{}, lab.Session{}, false},
	} {
		if got := c.a.Same(c.b); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
