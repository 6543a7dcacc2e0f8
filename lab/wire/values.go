package wire

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// value is a field of an Impairment as text. String returns nothing for the zero value.
type value interface {
	set(text string) error
	String() string
	example(name string) string
}

// maxDelay keeps the frames under way in bounds.
const maxDelay = time.Minute

type duration time.Duration

func (d *duration) set(text string) error {
	v, err := time.ParseDuration(text)
	if err != nil {
		return errors.New("write a time with its unit")
	}
	if v < 0 || v > maxDelay {
		return fmt.Errorf("a time is from 0 to %v", maxDelay)
	}
	*d = duration(v)
	return nil
}

func (d *duration) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

func (*duration) example(name string) string { return name + "=20ms" }

// share is a part of all frames, from 0 to 1, written in percent.
type share float64

// digits are those of the percentage that are kept: what division by 100 adds is left out.
const digits = 1e6

func (s *share) set(text string) error {
	if text == "0" {
		*s = 0
		return nil
	}
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	if !percent || err != nil {
		return errors.New("write a share of the frames in percent")
	}
	if !(v >= 0 && v <= 100) {
		return errors.New("a share is from 0% to 100%")
	}
	if v > 0 && v*digits < 1 {
		return errors.New("the smallest share is 0.000001%")
	}
	*s = share(v / 100)
	return nil
}

func (s *share) String() string {
	if *s == 0 {
		return ""
	}
	return strconv.FormatFloat(math.Round(float64(*s)*100*digits)/digits, 'f', -1, 64) + "%"
}

func (*share) example(name string) string { return name + "=1%" }

// rate is in bits a second.
type rate uint64

// Limits of a rate: a frame must not take minutes, and its time must not be 0 ns.
const (
	minRate = 1e3
	maxRate = 1e12
)

// rateUnits are the units of a rate, the largest first, as tc(8) calls them.
var rateUnits = []struct {
	name string
	bits uint64
}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}, {"bit", 1}}

func (r *rate) set(text string) error {
	if text == "0" {
		*r = 0
		return nil
	}
	text = strings.TrimSuffix(strings.ToLower(text), "/s")
	for _, u := range rateUnits {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(number, 64)
		if err != nil {
			break
		}
		if v *= float64(u.bits); !(v >= minRate && v <= maxRate) {
			return errors.New("a rate is from 1kbit to 1000gbit a second, or 0 for no limit")
		}
		*r = rate(math.Round(v))
		return nil
	}
	return errors.New("write bits a second with their unit, bit, kbit, mbit or gbit")
}

func (r *rate) String() string {
	for _, u := range rateUnits {
		if *r != 0 && uint64(*r)%u.bits == 0 {
			return strconv.FormatUint(uint64(*r)/u.bits, 10) + u.name
		}
	}
	return ""
}

func (*rate) example(name string) string { return name + "=10mbit" }
