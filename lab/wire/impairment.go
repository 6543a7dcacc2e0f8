// Package wire carries the frames of a link through user space and impairs them on the
// way: it delays, loses, reorders, duplicates and corrupts them, and limits their rate.
// It stands for what netem does where a kernel has it, and needs AF_PACKET alone.
//
// A [Wire] joins two interfaces of one network namespace. Each direction is a queue of
// its own, which knows no socket and no clock, so that what it does with a row of frames
// follows from them, its [Impairment] and its seed.
package wire

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// Impairment says how one direction of a link differs from a perfect one. The zero
// Impairment is a perfect link.
type Impairment struct {
	Delay     time.Duration // every frame arrives so much later
	Jitter    time.Duration // the delay varies by at most this, both ways, each value as likely; order is kept
	Loss      float64       // share of frames that are lost, from 0 to 1
	Reorder   float64       // share of frames that the following one overtakes
	Duplicate float64       // share of frames that arrive twice
	Corrupt   float64       // share of frames in which one bit is changed
	Rate      uint64        // bits a second, of whole Ethernet frames; 0 is without limit
	Down      bool          // the cable is pulled: both its ends have no carrier
}

// word is one of the words that describe an impairment: "delay=20ms".
type word struct {
	name string
	of   func(*Impairment) value
}

// words are all that have a value, in the order in which they are written.
var words = []word{
	{"delay", func(i *Impairment) value { return (*duration)(&i.Delay) }},
	{"jitter", func(i *Impairment) value { return (*duration)(&i.Jitter) }},
	{"loss", func(i *Impairment) value { return (*share)(&i.Loss) }},
	{"reorder", func(i *Impairment) value { return (*share)(&i.Reorder) }},
	{"duplicate", func(i *Impairment) value { return (*share)(&i.Duplicate) }},
	{"corrupt", func(i *Impairment) value { return (*share)(&i.Corrupt) }},
	{"rate", func(i *Impairment) value { return (*rate)(&i.Rate) }},
}

// Names returns the words that take a value, "delay" and so on.
func Names() []string {
	var all []string
	for _, w := range words {
		all = append(all, w.name)
	}
	return all
}

// Parse reads an impairment as it is typed: "delay=20ms,jitter=5ms loss=1%".
func Parse(text string) (Impairment, error) { return Impairment{}.Merge(text) }

// Merge returns i with what text says changed, and everything else as it was. Words stand
// apart by spaces or commas. Each is NAME=VALUE, where 0 removes what the name stands for,
// or one of down, up and heal; heal removes all that was there before it. On an error i is
// returned as it was.
func (i Impairment) Merge(text string) (Impairment, error) {
	all := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' })
	to := i
	for _, w := range all {
		if err := to.set(w); err != nil {
			return i, err
		}
	}
	return to, nil
}

// set changes what one word says.
func (i *Impairment) set(text string) error {
	switch text {
	case "down":
		i.Down = true
		return nil
	case "up":
		i.Down = false
		return nil
	case "heal":
		*i = Impairment{}
		return nil
	}
	name, v, isValue := strings.Cut(text, "=")
	for _, w := range words {
		if w.name != name {
			continue
		}
		if !isValue || v == "" {
			return fmt.Errorf("impairment %s: it needs a value, as in %s", name, w.of(i).example(name))
		}
		if err := w.of(i).set(v); err != nil {
			return fmt.Errorf("impairment %s: %w, as in %s", text, err, w.of(i).example(name))
		}
		return nil
	}
	return fmt.Errorf("impairment %s: no such word, there are %s with a value, and down, up and heal", text, strings.Join(Names(), ", "))
}

// String returns the impairment as [Parse] reads it, and nothing for a perfect link.
func (i Impairment) String() string {
	var all []string
	for _, w := range words {
		if v := w.of(&i).String(); v != "" {
			all = append(all, w.name+"="+v)
		}
	}
	if i.Down {
		all = append(all, "down")
	}
	return strings.Join(all, " ")
}

// Perfect reports whether a link is as the kernel makes it, except that its cable may be
// pulled.
func (i Impairment) Perfect() bool {
	i.Down = false
	return i == Impairment{}
}

// form is an Impairment in JSON: the values as they are typed.
type form struct {
	Delay     string `json:"delay,omitempty"`
	Jitter    string `json:"jitter,omitempty"`
	Loss      string `json:"loss,omitempty"`
	Reorder   string `json:"reorder,omitempty"`
	Duplicate string `json:"duplicate,omitempty"`
	Corrupt   string `json:"corrupt,omitempty"`
	Rate      string `json:"rate,omitempty"`
	Down      bool   `json:"down,omitempty"`
}

// values returns the fields of a form in the order of words.
func (f *form) values() []*string {
	return []*string{&f.Delay, &f.Jitter, &f.Loss, &f.Reorder, &f.Duplicate, &f.Corrupt, &f.Rate}
}

// MarshalJSON writes the values as they are typed: {"delay":"20ms","loss":"1%"}.
func (i Impairment) MarshalJSON() ([]byte, error) {
	f := form{Down: i.Down}
	for n, v := range f.values() {
		*v = words[n].of(&i).String()
	}
	return json.Marshal(f)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (i *Impairment) UnmarshalJSON(b []byte) error {
	var f form
	if err := json.Unmarshal(b, &f); err != nil {
		return err
	}
	to := Impairment{Down: f.Down}
	for n, v := range f.values() {
		if *v == "" {
			continue
		}
		if err := to.set(words[n].name + "=" + *v); err != nil {
			return err
		}
	}
	*i = to
	return nil
}
