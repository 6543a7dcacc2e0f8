package main

import "testing"

func TestWhetherAServiceManagerKeepsDescriptors(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want bool
	}{
		{map[string]string{"FDSTORE": "128"}, true},
		{map[string]string{"LISTEN_FDS": "0"}, true}, // a keeper that has nothing yet
		{map[string]string{"FDSTORE": "0"}, false},
		{nil, false},
	} {
		if got := managerKeeps(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("with %v: %v", c.env, got)
		}
	}
}
