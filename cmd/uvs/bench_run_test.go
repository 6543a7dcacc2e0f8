package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"uvs/bench"
	"uvs/bench/report"
	"uvs/internal/nstest"
	"uvs/lab/labtest"
)

func TestScenarioNamesTheLineAndTheField(t *testing.T) {
	tests := []struct {
		name, text, want string
	}{
		{"an option that the measure does not have", "parts:\n  - measure: quick\n    rouns: 3\n", "x.yaml:3: unknown field rouns: the options are the flags of uvs bench quick"},
		{"a field that a scenario does not have", "name: x\npart:\n", "x.yaml:2: unknown field part: a scenario has name, about and parts"},
		{"a value of the wrong kind", "parts:\n  - measure: quick\n    window: fast\n", `x.yaml:3: window: "fast" is not what --window takes (duration)`},
		{"a list where a word is wanted", "parts:\n  - measure: quick\n    rounds: [1, 2]\n", "x.yaml:3: rounds: one word, not a list"},
		{"a limit of another measure", "parts:\n  - measure: tcp\n    limits:\n      max_loss: 1\n", "x.yaml:4: tcp has no limit max_loss: one of min_times_baseline, max_cpu_to_baseline, max_failed"},
		{"a limit that is no number", "parts:\n  - measure: quick\n    limits: {max_loss: little}\n", `x.yaml:3: max_loss: "little" is not a number`},
		{"a measure that is not there", "parts:\n  - measure: speed\n", "x.yaml:2: unknown measure speed"},
		{"the same measure again", "parts:\n  - measure: quick\n  - measure: quick\n", "x.yaml:3: measure quick is there twice: give its options more choices"},
		{"what the command itself refuses", "parts:\n  - measure: quick\n    size: [12]\n", "x.yaml:2: quick: --size 12: 64 to 1518, or imix"},
		{"where results go is not a scenario's business", "parts:\n  - measure: quick\n    json: x\n", "x.yaml:3: unknown field json: the options are the flags of uvs bench quick"},
		{"no parts", "name: x\n", "x.yaml:1: a scenario needs parts"},
		{"nothing", "", "x.yaml:1: a scenario has name, about and parts"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := readScenario("x.yaml", []byte(test.text))
			if err == nil || err.Error() != test.want {
				t.Errorf("%v\nwant %s", err, test.want)
			}
		})
	}
}

func TestScenarioIsWhatTheFlagsWouldMakeIt(t *testing.T) {
	s, err := readScenario("mine.yaml", []byte(`about: mine
parts:
  - measure: quick
    mode: [null, nat]
    io: [ring, socket]
    size: [64, imix]
    rounds: 4
    limits:
      max_ratio_to_null: 1.10
`))
	if err != nil {
		t.Fatal(err)
	}
	o := s.parts[0].Options
	if s.name != "mine" || len(o.Targets) != 4 || len(o.Loads) != 2 || o.Rounds != 4 || o.Window != 500*time.Millisecond {
		t.Errorf("%s: %+v", s.name, o)
	}
	if len(o.Limits) != 1 || o.Limits[0] != (report.Limit{Name: "max_ratio_to_null", Bound: 1.10}) {
		t.Errorf("limits %+v", o.Limits)
	}
}

func TestShippedScenariosAreRight(t *testing.T) {
	var b strings.Builder
	if err := listScenarios(&b); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(b.String(), "\n"); lines < 3 {
		t.Errorf("%d scenarios:\n%s", lines, b.String())
	}
}

func TestReportNamesNoPlace(t *testing.T) {
	got := command([]string{"bench", "quick", "--json=/home/me/x.json", "--html", "../y.html", "--baseline", "nat/wlc", "--against", "./old/uvs", "~/s.yaml"})
	want := "bench quick --json=x.json --html y.html --baseline nat/wlc --against uvs s.yaml"
	if s := strings.Join(got, " "); s != want {
		t.Errorf("%s\nwant %s", s, want)
	}
}

// TestInterruptedRunLeavesAWholeReport sends SIGINT to a run of everything as
// soon as that says it may: all three files are there and say that they are
// partial.
func TestInterruptedRunLeavesAWholeReport(t *testing.T) {
	nstest.Need(t)
	dir := t.TempDir()
	cmd := exec.Command(labtest.Program(t), "bench", "full", "--quick", "-o", filepath.Join(dir, "out"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var out strings.Builder
	cmd.Stdout = &out
	errs, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(errs)
	if line, err := lines.ReadString('\n'); err != nil || !strings.Contains(line, "Ctrl-C ends it") {
		t.Errorf("its first line is %q: %v", line, err)
	}
	_ = cmd.Process.Signal(syscall.SIGINT)
	rest, _ := io.ReadAll(lines)
	if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("it ended with %v, want status 1, so that no script takes the part for the whole: %s%s", err, out.String(), rest)
	}
	text, err := os.ReadFile(filepath.Join(dir, "out", "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r bench.Report
	if err := json.Unmarshal(text, &r); err != nil || r.Partial != "interrupted" {
		t.Errorf("%v, partial %q", err, r.Partial)
	}
	page, err := os.ReadFile(filepath.Join(dir, "out", "report.html"))
	if err != nil || !strings.Contains(string(page), "This report is partial") || !strings.HasSuffix(strings.TrimSpace(string(page)), "</html>") {
		t.Errorf("%v: the page is not whole or does not say that it is partial", err)
	}
	if !strings.Contains(out.String(), "partial: interrupted") {
		t.Error(out.String())
	}
}
