package director

import (
	"bytes"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"uvs/forwarder/config"
)

func begin(t *testing.T, c Config) *Director {
	t.Helper()
	d, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

// killed has a director end without a word, as far as its state is concerned.
func killed(t *testing.T, d *Director) {
	t.Helper()
	if err := d.state.Release(); err != nil {
		t.Fatal(err)
	}
}

// next is what the next director is begun with.
func next(t *testing.T, c Config) Config {
	t.Helper()
	fresh := inMemory(t)
	fresh.State, fresh.Rules, fresh.Log = c.State, c.Rules, c.Log
	return fresh
}

func dns(d *Director) error {
	key := config.Key{Proto: config.UDP, Addr: netip.MustParseAddr("10.0.0.1"), Port: 53}
	return d.AddService(config.Service{Key: key, Scheduler: "sh"})
}

// keys are the services of a director.
func keys(d *Director) string {
	var all []string
	for _, s := range d.Services() {
		all = append(all, s.Key.String())
	}
	return strings.Join(all, ", ")
}

// A rules file that nobody touched knows less than the state; one that was edited counts.
func TestAfterAKillTheRulesFileCountsIfItWasEdited(t *testing.T) {
	c := inMemory(t)
	c.State, c.Rules = filepath.Join(shortDir(t), "state"), filepath.Join(shortDir(t), "rules")
	write(t, c.Rules, "-A -t 10.0.0.1:80 -s rr\n")
	d := begin(t, c)
	if err := dns(d); err != nil {
		t.Fatal(err)
	}
	killed(t, d)
	d = begin(t, next(t, c))
	if got := keys(d); got != "-t 10.0.0.1:80, -u 10.0.0.1:53" {
		t.Errorf("after a kill there are %s", got)
	}
	killed(t, d)
	write(t, c.Rules, "-A -t 10.0.0.1:81 -s rr\n")
	if got := keys(begin(t, next(t, c))); got != "-t 10.0.0.1:81" {
		t.Errorf("after an edit there are %s", got)
	}
}

func TestADirectorWithoutConfigurationLeavesNoState(t *testing.T) {
	c := inMemory(t)
	c.State = filepath.Join(shortDir(t), "state")
	d := begin(t, c)
	if _, err := os.Stat(filepath.Join(c.State, "conns")); err != nil {
		t.Error(err)
	}
	d.Close()
	if _, err := os.Stat(c.State); !os.IsNotExist(err) {
		t.Errorf("the state: %v", err)
	}
	c = next(t, c)
	d = begin(t, c)
	if err := dns(d); err != nil {
		t.Fatal(err)
	}
	d.Close()
	if got := keys(begin(t, next(t, c))); got != "-u 10.0.0.1:53" {
		t.Errorf("after a stop there are %q", got)
	}
}

func TestAStateHasOneDirector(t *testing.T) {
	c := inMemory(t)
	c.State = filepath.Join(shortDir(t), "state")
	begin(t, c)
	if _, err := New(t.Context(), next(t, c)); err == nil || !strings.Contains(err.Error(), "is in use by process ") {
		t.Errorf("a second one: %v", err)
	}
}

func TestADamagedStateIsSetAsideAndTheDirectorStarts(t *testing.T) {
	for _, file := range []string{"identity", "counters", "config", "conns"} {
		t.Run(file, func(t *testing.T) {
			c := inMemory(t)
			c.State = filepath.Join(shortDir(t), "state")
			d := begin(t, c)
			if err := dns(d); err != nil {
				t.Fatal(err)
			}
			killed(t, d)
			if err := os.Truncate(filepath.Join(c.State, file), 100); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			c.Log = slog.New(slog.NewTextHandler(&log, nil))
			d = begin(t, next(t, c))
			if said := log.String(); keys(d) != "" || !strings.Contains(said, "state: "+file) {
				t.Errorf("there are %q, and the log says %s", keys(d), said)
			}
			if aside, _ := filepath.Glob(filepath.Join(c.State, "bad-*", file)); len(aside) != 1 {
				t.Errorf("set aside are %v", aside)
			}
		})
	}
}

func TestADirectorInMemoryKeepsNothingUnlessAsked(t *testing.T) {
	for _, kept := range []string{"", StateNone} {
		c := inMemory(t)
		c.State = kept
		if d := begin(t, c); d.state != nil {
			t.Errorf("with State %q it keeps a state in %s", kept, d.state.Where())
		}
	}
}
