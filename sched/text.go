package sched

import (
	"fmt"
	"strings"
)

// MarshalText returns the flags as -b accepts them for any scheduler:
// "flag-1,flag-2", or an empty text for none.
func (f Flags) MarshalText() ([]byte, error) {
	var names []string
	for i, name := range []string{"flag-1", "flag-2", "flag-3"} {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return []byte(strings.Join(names, ",")), nil
}

// UnmarshalText reads the words of MarshalText and the names sh-fallback,
// sh-port, mh-fallback and mh-port, separated by commas.
func (f *Flags) UnmarshalText(text []byte) error {
	var flags Flags
	for name := range strings.SplitSeq(string(text), ",") {
		switch name {
		case "":
		case "flag-1", "sh-fallback", "mh-fallback":
			flags |= Flag1
		case "flag-2", "sh-port", "mh-port":
			flags |= Flag2
		case "flag-3":
			flags |= Flag3
		default:
			return fmt.Errorf("no scheduler flag %q", name)
		}
	}
	*f = flags
	return nil
}
