package guard

import (
	"testing"

	"uvs/internal/nstest"
)

func TestAHeldPortIsGuardedUntilItHasBeenReleasedAsOftenAsHeld(t *testing.T) {
	client, host, _ := lan(t)
	g := newGuard(t, host)
	r := Rules{Links: []string{"d0"}, Virtual: []Tuple{tuple(6, "10.0.0.2:21")}}
	set(host, g, r)
	for _, addr := range []string{"10.0.0.2:50000", "[fd00::2]:50000"} {
		data := tuple(6, addr)
		do := func(what func(Tuple) error) { host.Do(func() error { return what(data) }) }
		expect(t, client, addr, "refused", "nobody holds it")
		do(g.RemoveTuple)
		expect(t, client, addr, "refused", "releasing what is not held does nothing")
		do(g.AddTuple)
		expect(t, client, addr, "silent", "it is held")
		set(host, g, r)
		expect(t, client, addr, "silent", "other rules do not touch it")
		do(g.AddTuple)
		do(g.RemoveTuple)
		expect(t, client, addr, "silent", "it was held twice and released once")
		expect(t, client, neighbourOf(addr), "refused", "that port is another")
		do(g.RemoveTuple)
		expect(t, client, addr, "refused", "it was released as often as held")
	}
}

func TestAHeldPortSurvivesThatTheTableIsMadeAnew(t *testing.T) {
	client, host, _ := lan(t)
	g := newGuard(t, host)
	r := Rules{Links: []string{"d0"}}
	set(host, g, r)
	host.Do(func() error { return g.AddTuple(tuple(6, "10.0.0.2:50000")) })
	g.mu.Lock()
	g.closeTable()
	g.mu.Unlock()
	nstest.Eventually(t, "the table is gone", func() bool { return dial(client, "10.0.0.2:50000", aMoment) == "refused" })
	set(host, g, r)
	expect(t, client, "10.0.0.2:50000", "silent", "Set makes all rules anew, held ports among them")
}

// neighbourOf returns the port below.
func neighbourOf(addr string) string { return addr[:len(addr)-5] + "49999" }
