package fdstore

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// inheritEnv makes the test binary a child that says what it was passed.
const inheritEnv = "UVS_TEST_INHERIT"

func TestMain(m *testing.M) {
	if os.Getenv(inheritEnv) != "" {
		tellInherited()
		return
	}
	os.Exit(m.Run())
}

// inherited is what the child tells.
type inherited struct {
	Texts map[string]string // content of each descriptor by name
	Left  []string          // variables that are still there
	Error string
}

func tellInherited() {
	got := inherited{Texts: map[string]string{}}
	s, err := FromEnv()
	if err != nil {
		got.Error = err.Error()
	}
	for _, name := range s.Names("") {
		text := make([]byte, 100)
		f := s.Take(name)
		n, _ := f.ReadAt(text, 0)
		got.Texts[name] = string(text[:n])
	}
	for _, v := range os.Environ() {
		if strings.HasPrefix(v, "LISTEN_") || strings.HasPrefix(v, "NOTIFY_") {
			got.Left = append(got.Left, v)
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(got)
}

func file(t *testing.T, text string) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "f"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return f
}

func textOf(t *testing.T, f *os.File) string {
	t.Helper()
	if f == nil {
		return "nothing"
	}
	defer f.Close()
	text := make([]byte, 100)
	n, _ := f.ReadAt(text, 0)
	return string(text[:n])
}

func TestWhatIsKeptIsThereUnderItsName(t *testing.T) {
	s := New()
	defer s.Close()
	for _, kept := range [][2]string{{"a", "one"}, {"b", "two"}, {"a", "three"}} {
		f := file(t, kept[1])
		if err := s.Keep(kept[0], f); err != nil {
			t.Fatal(err)
		}
		f.Close() // the store has its own
	}
	if got := textOf(t, s.Take("a")) + " " + textOf(t, s.Take("b")) + " " + textOf(t, s.Take("c")); got != "three two nothing" {
		t.Errorf("taken: %s", got)
	}
	if err := s.Forget("a"); err != nil {
		t.Fatal(err)
	}
	if names := s.Names(""); !slices.Equal(names, []string{"b"}) {
		t.Errorf("names %v, want b alone", names)
	}
	if s.Supervised() {
		t.Error("nobody holds them, says the store otherwise")
	}
}

func TestNamesThatTheEnvironmentCannotCarryAreRefused(t *testing.T) {
	s := New()
	for _, name := range []string{"", "a:b", "a b", "a\nFDSTORE=1", "ä", strings.Repeat("x", 256)} {
		if err := s.Keep(name, file(t, "")); err == nil {
			t.Errorf("%q is a name", name)
		}
	}
}

func TestNoStoreKeepsNothing(t *testing.T) {
	var s *Store
	if err := s.Keep("a", file(t, "")); err != nil {
		t.Error(err)
	}
	if s.Take("a") != nil || s.Names("") != nil || s.Forget("a") != nil || s.Notify("READY=1") != nil || s.ForgetUnused("") != nil || s.Supervised() || s.Manager() != "" {
		t.Error("it does something")
	}
	s.Close()
}

func TestADescriptorGoesToTheServiceManager(t *testing.T) {
	address := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	t.Setenv("NOTIFY_SOCKET", address)
	s, err := FromEnv()
	if err != nil || !s.Supervised() {
		t.Fatal(err, s.Supervised())
	}
	defer s.Close()
	held := New()
	defer held.Close()
	next := func() string {
		t.Helper()
		text, rights := make([]byte, 500), make([]byte, 100)
		n, size, _, _, err := manager.ReadMsgUnix(text, rights)
		if err != nil {
			t.Fatal(err)
		}
		if err := held.Hold(ParseMessage(string(text[:n])), rightsIn(rights[:size])); err != nil {
			t.Error(err)
		}
		return string(text[:n])
	}
	if err := s.Keep("ring-1", file(t, "one")); err != nil {
		t.Fatal(err)
	}
	if got := next(); got != "FDSTORE=1\nFDNAME=ring-1\nFDPOLL=0" {
		t.Errorf("the manager hears %q", got)
	}
	if got := textOf(t, held.Take("ring-1")); got != "one" {
		t.Errorf("the manager holds %q", got)
	}
	_ = s.Forget("ring-1")
	if got := next(); got != "FDSTOREREMOVE=1\nFDNAME=ring-1" || len(held.Names("")) != 0 {
		t.Errorf("the manager hears %q and holds %v", got, held.Names(""))
	}
	if err := s.Notify("READY=1", "MAINPID=7"); err != nil {
		t.Fatal(err)
	}
	if m := ParseMessage(next()); !m.Ready || m.MainPID != 7 || m.Store || m.Remove || m.Stopping {
		t.Errorf("the manager hears %+v", m)
	}
}

func TestDescriptorsArePassedToTheNextProcess(t *testing.T) {
	s := New()
	defer s.Close()
	for _, name := range []string{"a", "b"} {
		if err := s.Keep(name, file(t, name+"'s text")); err != nil {
			t.Fatal(err)
		}
	}
	pass := func(env ...string) (got inherited) {
		t.Helper()
		cmd := exec.Command("/proc/self/exe")
		for _, name := range s.Names("") {
			cmd.ExtraFiles = append(cmd.ExtraFiles, s.Take(name))
		}
		cmd.Env = append(os.Environ(), append(env, inheritEnv+"=1")...)
		out, err := cmd.Output()
		if err == nil {
			err = json.Unmarshal(out, &got)
		}
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	_, env := s.ToChild()
	if got := pass(env...); len(got.Texts) != 2 || got.Texts["a"] != "a's text" || got.Texts["b"] != "b's text" || len(got.Left) > 0 || got.Error != "" {
		t.Errorf("passed: %+v", got)
	}
	if got := pass("LISTEN_FDS=2", "LISTEN_FDNAMES=a:b", "LISTEN_PID=1"); len(got.Texts) != 0 || len(got.Left) > 0 {
		t.Errorf("passed to somebody else, and taken: %+v", got)
	}
	if got := pass("LISTEN_FDS=two"); got.Error == "" {
		t.Error("LISTEN_FDS=two is a number")
	}
}

func TestAHandoverPassesAllDescriptorsInOrder(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*Handover
	for i, fd := range pair {
		f := os.NewFile(uintptr(fd), "pair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = NewHandover(c.(*net.UnixConn))
		defer ends[i].Close()
	}
	const n = perMessage + 30
	s, received := New(), New()
	defer s.Close()
	defer received.Close()
	for i := range n {
		if err := s.Keep(fmt.Sprint("f", i), file(t, fmt.Sprint("text ", i))); err != nil {
			t.Fatal(err)
		}
	}
	sent := make(chan error, 1)
	go func() {
		err := ends[0].Send("before")
		if err == nil {
			err = ends[0].SendStore(s)
		}
		if err == nil {
			err = ends[0].Send("after")
		}
		sent <- err
	}()
	var before, after string
	if err := ends[1].Receive(&before); err != nil {
		t.Fatal(err)
	}
	if err := ends[1].ReceiveStore(received); err != nil {
		t.Fatal(err)
	}
	if err := ends[1].Receive(&after); err != nil || <-sent != nil || before+after != "beforeafter" {
		t.Fatal(err, before, after)
	}
	for i := range n {
		if got, want := textOf(t, received.Take(fmt.Sprint("f", i))), fmt.Sprint("text ", i); got != want {
			t.Errorf("f%d has %q, want %q", i, got, want)
		}
	}
}

func TestWhatNobodyUsesIsForgotten(t *testing.T) {
	s := New()
	defer s.Close()
	for _, name := range []string{"old", "older", "taken"} {
		fd, err := dup(file(t, ""))
		if err != nil {
			t.Fatal(err)
		}
		s.put(name, fd)
	}
	s.Take("taken").Close()
	if err := s.Keep("new", file(t, "")); err != nil {
		t.Fatal(err)
	}
	if got := s.ForgetUnused("older"); !slices.Equal(got, []string{"old"}) || len(s.Names("")) != 3 {
		t.Errorf("forgotten, but what is older: %v, kept: %v", got, s.Names(""))
	}
	if got := s.ForgetUnused(""); !slices.Equal(got, []string{"older"}) || len(s.Names("")) != 2 {
		t.Errorf("forgotten: %v, kept: %v", got, s.Names(""))
	}
}

// A kill in the middle leaves the manager with both guards, not with none.
func TestAManagerGetsWhatIsNewBeforeItForgets(t *testing.T) {
	address := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	s := New()
	defer s.Close()
	for _, name := range []string{"guard-uvs", "again"} {
		fd, err := dup(file(t, ""))
		if err != nil {
			t.Fatal(err)
		}
		s.receive([]string{name}, []int{fd})
	}
	for _, name := range []string{"guard-uvs2", "again"} {
		if err := s.Keep(name, file(t, "")); err != nil {
			t.Fatal(err)
		}
	}
	_ = s.Forget("guard-uvs")
	if err := s.Attach(address); err != nil {
		t.Fatal(err)
	}
	at := map[string]int{}
	for i := range 4 {
		text := make([]byte, 500)
		n, err := manager.Read(text)
		if err != nil {
			t.Fatal(err)
		}
		at[string(text[:n])] = i + 1
	}
	for _, order := range [][2]string{{addition("guard-uvs2"), removal("guard-uvs")}, {removal("again"), addition("again")}} {
		if at[order[0]] == 0 || at[order[0]] >= at[order[1]] {
			t.Errorf("not in this order: %q", order)
		}
	}
}
