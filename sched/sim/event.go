package sim

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Event is something that happens to a server, or to the service, at a time.
// Its text form is "TIME ACTION SERVER [NUMBER...]", servers counted from 1:
//
//	20s fail 2         2 is removed and its connections break
//	30s recover 2      2 is added again, with the weight it had
//	20s weight 2 0     2 has weight 0
//	20s limit 2 40 30  2 has the connection thresholds 40 and 30
//	20s remove 2       2 is removed, its connections last on
//	30s add 2 3        2 is added, again or for the first time, with weight 3
//	40s scheduler wlc  the service has another scheduler
type Event struct {
	At     time.Duration
	Do     string
	Server int
	Values []int
	Name   string // the scheduler
}

// span is how many numbers there may be.
type span struct{ least, most int }

func (s span) String() string {
	switch {
	case s.most == 0:
		return "no number"
	case s.least == s.most:
		return fmt.Sprint(s.least, " number")
	}
	return fmt.Sprintf("%d to %d numbers", s.least, s.most)
}

// values says how many numbers may follow an action's server.
var values = map[string]span{
	"fail": {}, "recover": {}, "remove": {}, "weight": {1, 1}, "limit": {1, 2}, "add": {0, 1},
}

// ParseEvent reads the text form of an event.
func ParseEvent(text string) (Event, error) {
	var e Event
	f := strings.Fields(text)
	if len(f) < 3 {
		return e, fmt.Errorf("event %q: want TIME ACTION SERVER, as in \"20s fail 2\"", text)
	}
	at, err := time.ParseDuration(f[0])
	if err != nil || at < 0 {
		return e, fmt.Errorf("event %q: %q is not a time such as 20s", text, f[0])
	}
	e.At, e.Do = at, f[1]
	if e.Do == "scheduler" {
		e.Name = f[2]
		return e, nil
	}
	want, ok := values[e.Do]
	if !ok {
		return e, fmt.Errorf("event %q: the action %q is not one of fail, recover, weight, limit, remove, add, scheduler", text, e.Do)
	}
	var numbers []int
	for _, word := range f[2:] {
		n, err := strconv.ParseInt(word, 10, 32)
		if err != nil || n < 0 {
			return e, fmt.Errorf("event %q: %q is not a number from 0 to %d", text, word, math.MaxInt32)
		}
		numbers = append(numbers, int(n))
	}
	e.Server, e.Values = numbers[0], numbers[1:]
	if e.Server == 0 || e.Server > maxServers {
		return e, fmt.Errorf("event %q: there is no server %d; they are counted from 1", text, e.Server)
	}
	if n := len(e.Values); n < want.least || n > want.most {
		return e, fmt.Errorf("event %q: %s takes %s after the server, not %d", text, e.Do, want, n)
	}
	return e, nil
}

// String writes what ParseEvent reads.
func (e Event) String() string {
	if e.Do == "scheduler" {
		return fmt.Sprint(e.At, " scheduler ", e.Name)
	}
	text := fmt.Sprint(e.At, " ", e.Do, " ", e.Server)
	for _, v := range e.Values {
		text += fmt.Sprint(" ", v)
	}
	return text
}

// MarshalText writes the text form.
func (e Event) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// UnmarshalText reads the text form.
func (e *Event) UnmarshalText(text []byte) (err error) {
	*e, err = ParseEvent(string(text))
	return err
}

// sorted returns events by time, those of one time as they were given.
func sorted(events []Event) []Event {
	events = slices.Clone(events)
	slices.SortStableFunc(events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	return events
}

// value returns the nth number, or a default.
func (e Event) value(n, otherwise int) int {
	if n < len(e.Values) {
		return e.Values[n]
	}
	return otherwise
}
