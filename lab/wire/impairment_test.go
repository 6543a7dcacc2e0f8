package wire

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestWordsAreMergedIntoWhatIsThere(t *testing.T) {
	there := Impairment{Delay: 20 * time.Millisecond, Loss: 0.01}
	for _, c := range []struct {
		name, text, want string
	}{
		{"nothing said changes nothing", "", "delay=20ms loss=1%"},
		{"another value stands beside those that were there", "rate=10mbit", "delay=20ms loss=1% rate=10mbit"},
		{"a value takes the place of its like", "delay=5ms", "delay=5ms loss=1%"},
		{"0 removes a time", "delay=0", "loss=1%"},
		{"0 removes a share", "loss=0", "delay=20ms"},
		{"so does 0%", "loss=0%", "delay=20ms"},
		{"commas and spaces separate", "jitter=5ms,reorder=2%  duplicate=1%,, corrupt=0.1%",
			"delay=20ms jitter=5ms loss=1% reorder=2% duplicate=1% corrupt=0.1%"},
		{"a cable is pulled and the values stay", "down", "delay=20ms loss=1% down"},
		{"and put in again", "down up", "delay=20ms loss=1%"},
		{"heal removes everything", "down heal", ""},
		{"what stands after heal is new", "heal delay=1ms", "delay=1ms"},
		{"the last of two counts", "loss=3% loss=7%", "delay=20ms loss=7%"},
		{"rates have the units of tc", "heal rate=1500000bit/s", "rate=1500kbit"},
		{"in any case", "heal rate=2.5Gbit", "rate=2500mbit"},
		{"0 removes a rate", "heal rate=1gbit rate=0", ""},
		{"the smallest share is kept", "heal loss=0.0001%", "loss=0.0001%"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := there.Merge(c.text)
			if err != nil || got.String() != c.want {
				t.Fatalf("%q makes %q, %v; want %q", c.text, got, err, c.want)
			}
			again, err := Parse(got.String())
			if err != nil || again != got {
				t.Errorf("%q is read as %+v, %v; want %+v", got, again, err, got)
			}
			b, err := json.Marshal(got)
			var back Impairment
			if err == nil {
				err = json.Unmarshal(b, &back)
			}
			if err != nil || back != got {
				t.Errorf("%s is read as %+v, %v; want %+v", b, back, err, got)
			}
		})
	}
}

func TestWhatIsNoImpairmentIsRefusedAndExplained(t *testing.T) {
	there := Impairment{Loss: 0.5}
	for _, c := range []struct{ text, want string }{
		{"dely=20ms", "impairment dely=20ms: no such word, there are delay, jitter, loss, reorder, duplicate, corrupt, rate with a value, and down, up and heal"},
		{"loss", "impairment loss: it needs a value, as in loss=1%"},
		{"delay=", "impairment delay: it needs a value, as in delay=20ms"},
		{"loss=1", "impairment loss=1: write a share of the frames in percent, as in loss=1%"},
		{"loss=NaN%", "impairment loss=NaN%: a share is from 0% to 100%, as in loss=1%"},
		{"loss=101%", "impairment loss=101%: a share is from 0% to 100%, as in loss=1%"},
		{"loss=-1%", "a share is from 0% to 100%"},
		{"delay=20", "impairment delay=20: write a time with its unit, as in delay=20ms"},
		{"delay=-1ms", "a time is from 0 to 1m0s"},
		{"delay=2m", "a time is from 0 to 1m0s"},
		{"rate=10", "impairment rate=10: write bits a second with their unit, bit, kbit, mbit or gbit, as in rate=10mbit"},
		{"rate=10mbps", "write bits a second"},
		{"rate=1bit", "a rate is from 1kbit"},
		{"rate=NaNbit", "a rate is from 1kbit"},
		{"delay=1ms loss=x%", "write a share"},
	} {
		got, err := there.Merge(c.text)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
		if got != there {
			t.Errorf("%q changed what was there to %q", c.text, got)
		}
	}
}

func TestJSONHasTheValuesAsTheyAreTyped(t *testing.T) {
	i, err := Parse("delay=20ms,jitter=5ms loss=1% rate=10mbit down")
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(i)
	if want := `{"delay":"20ms","jitter":"5ms","loss":"1%","rate":"10mbit","down":true}`; err != nil || string(b) != want {
		t.Errorf("got %s, %v; want %s", b, err, want)
	}
}
