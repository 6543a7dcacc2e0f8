package peer

import "testing"

func TestTrusted(t *testing.T) {
	const overflow = 65534
	for _, c := range []struct {
		name      string
		uid, own  int
		allMapped bool
		want      bool
	}{
		{"root is believed", 0, 1000, false, true},
		{"the own user is believed", 1000, 1000, false, true},
		{"another user is not", 1001, 1000, true, false},
		{"in a user namespace anybody may be behind the overflow number", overflow, overflow, false, false},
		{"where all users are mapped it is a user like others", overflow, overflow, true, true},
	} {
		if got := trusted(c.uid, c.own, overflow, c.allMapped); got != c.want {
			t.Errorf("%s: got %v", c.name, got)
		}
	}
}

func TestAllMapped(t *testing.T) {
	for text, want := range map[string]bool{
		"         0          0 4294967295\n": true,
		"         0       1000          1\n": false,
		"":                                   false,
	} {
		if got := allMapped(text); got != want {
			t.Errorf("allMapped(%q) = %v", text, got)
		}
	}
}
