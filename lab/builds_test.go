package lab_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"uvs/lab"
	"uvs/lab/labtest"
)

// TestANewerBuildTakesOverAndAnOlderOneDoesNot kills the director and starts a build
// with the next layout of the connection table in its place, then kills that and starts
// the first again.
func TestANewerBuildTakesOverAndAnOlderOneDoesNot(t *testing.T) {
	if testing.Short() {
		t.Skip("builds another uvs")
	}
	labtest.Available(t)
	next := nextBuild(t)
	spec := labtest.Build(t, "nat", lab.Options{VIPElsewhere: true})
	spec.Node("director").Forward = false
	state := t.TempDir()
	argv := lab.Command{"director", "--state", state}
	for i, s := range spec.Node("director").Services {
		if s.Name == "director" {
			spec.Node("director").Services[i].Command = append(lab.Command{"uvs"}, argv...)
		}
	}
	l := labtest.Start(t, spec)
	load := startLoad(t, l, 20)
	load.await(1)
	if err := l.Kill("director"); err != nil {
		t.Fatal(err)
	}
	newer := l.Command("director", append([]string{next}, argv...)...)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	newer.Stderr = log
	if err := newer.Start(); err != nil {
		t.Fatal(err)
	}
	load.await(2)
	load.end()
	if err := newer.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = newer.Wait()
	if text, _ := os.ReadFile(log.Name()); !strings.Contains(string(text), "connections adopted") {
		t.Errorf("the newer build says\n%s", text)
	}
	if err := l.StartServices("director"); err != nil {
		t.Fatal(err)
	}
	if out := labtest.Exec(t, l, "director", "ipvsadm", "-Ln"); strings.Contains(out, "->  192") {
		t.Errorf("the older build has services of the newer one:\n%s", out)
	}
	text, err := l.Logs("director")
	if err != nil || !strings.Contains(text, "made by a newer uvs") {
		t.Errorf("the older build says\n%s%v", text, err)
	}
	aside, err := filepath.Glob(filepath.Join(state, "bad-*", "conns"))
	if err != nil || len(aside) != 1 {
		t.Errorf("what the newer one left is not set aside: %v, %v", aside, err)
	}
}

// TestANewerBuildReplacesARunningDirector under load, and is not replaced by the older one,
// which says why and leaves it serving.
func TestANewerBuildReplacesARunningDirector(t *testing.T) {
	if testing.Short() {
		t.Skip("builds another uvs")
	}
	labtest.Available(t)
	next := nextBuild(t)
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{}))
	load := startLoad(t, l, 20)
	load.await(1)
	last := replace(t, l, nil, next)
	for range 3 {
		last = replace(t, l, last, next)
		load.await(1)
	}
	if _, err := l.Exec("director", "timeout", "30", "uvs", "director", "--replace"); err == nil || !strings.Contains(err.Error(), "made by a newer uvs") {
		t.Errorf("the older build says %v", err)
	}
	load.await(1)
	load.end()
	if t.Failed() {
		report(t, l)
	}
}

// nextBuild builds uvs with the next layout of the connection table.
func nextBuild(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "uvs-next")
	build := exec.Command("go", "build", "-tags", "nextlayout", "-o", program, "uvs/cmd/uvs")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return program
}
