package load

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

// connected returns a caller of calls, and what serve returns in the end.
func connected(t *testing.T, calls map[string]call) (*Caller, <-chan error) {
	t.Helper()
	ours, theirs := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- serve(theirs, calls); theirs.Close() }()
	c := NewCaller(ours)
	t.Cleanup(func() { c.Close() })
	return c, ended
}

func TestACallReturnsWhatTheMethodReplies(t *testing.T) {
	c, ended := connected(t, map[string]call{
		"Double": callOf(func(n int, r *int) error { *r = 2 * n; return nil }),
		"Fail":   callOf(func(struct{}, *struct{}) error { return errors.New("no such node") }),
		"Keep":   callOf(func(d time.Duration, r *Trial) error { r.Window = d; return nil }),
	})
	var n int
	if err := c.Call("Double", 21, &n); err != nil || n != 42 {
		t.Errorf("%d, %v", n, err)
	}
	if err := c.Call("Fail", struct{}{}, &struct{}{}); err == nil || err.Error() != "no such node" {
		t.Errorf("got %v", err)
	}
	var trial Trial
	if err := c.Call("Keep", time.Second, &trial); err != nil || trial.Window != time.Second {
		t.Errorf("%+v, %v", trial, err)
	}
	c.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestCallsDoNotWaitForEachOther(t *testing.T) {
	release := make(chan struct{})
	c, _ := connected(t, map[string]call{
		"Wait": callOf(func(struct{}, *struct{}) error { <-release; return nil }),
		"Go":   callOf(func(struct{}, *struct{}) error { close(release); return nil }),
	})
	waiting := c.Go("Wait", struct{}{}, &struct{}{})
	if err := c.Call("Go", struct{}{}, &struct{}{}); err != nil {
		t.Fatal(err)
	}
	if err := <-waiting; err != nil {
		t.Error(err)
	}
}

func TestCallsEndWithTheTester(t *testing.T) {
	c, ended := connected(t, nil)
	if err := c.Call("Nothing", 1, nil); err == nil {
		t.Error("a call that there is not succeeded")
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), `no call "Nothing"`) {
		t.Errorf("got %v", err)
	}
	if err := c.Call("Nothing", 1, nil); err == nil {
		t.Error("a call after the end succeeded")
	}
}

func TestEveryMethodOfATesterIsACall(t *testing.T) {
	calls, typ := new(Tester).calls(), reflect.TypeFor[*Tester]()
	for i := range typ.NumMethod() {
		if calls[typ.Method(i).Name] == nil {
			t.Errorf("%s is none", typ.Method(i).Name)
		}
	}
	if len(calls) != typ.NumMethod() {
		t.Errorf("%d calls for %d methods", len(calls), typ.NumMethod())
	}
}

// TestTheTesterHasEveryCall reads the names of calls, which are strings, from the sources.
func TestTheTesterHasEveryCall(t *testing.T) {
	files, err := filepath.Glob("../*.go")
	if err != nil {
		t.Fatal(err)
	}
	calls, known, found := regexp.MustCompile(`\.(?:Call|Go)\("(\w+)"`), (&Tester{}).calls(), 0
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range calls.FindAllSubmatch(text, -1) {
			found++
			if _, ok := known[string(m[1])]; !ok {
				t.Errorf("%s calls %s, which the tester does not have", name, m[1])
			}
		}
	}
	if found < 10 {
		t.Errorf("%d calls were found", found)
	}
}
