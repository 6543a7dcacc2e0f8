package recording

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uvs/internal/kernelvm"
)

func TestMain(m *testing.M) {
	Inside()
	os.Exit(m.Run())
}

// files have recordings that can be made anew.
var files = []string{"sched/testdata/recorded.jsonl", "sched/testdata/asked.jsonl", "conntrack/testdata/tcpstate.jsonl"}

// recorded returns the lines of a file.
func recorded(t *testing.T, file string) [][]byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", "..", file))
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
}

func TestTheRealKernelStillAnswersAsRecorded(t *testing.T) {
	kernelvm.Need(t)
	const every, first = 10, 3 // a sample, without the lives that are about short times
	var questions [][]byte
	for _, file := range files {
		for i, line := range recorded(t, file) {
			if i%every == first {
				questions = append(questions, line)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	b, err := Ask(ctx, kernelvm.VM{}, bytes.Join(questions, []byte("\n")))
	if err != nil {
		t.Fatal(err)
	}
	answers := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	if len(answers) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(answers), len(questions))
	}
	for i := range answers {
		was, is := parsed(t, questions[i]), parsed(t, answers[i])
		if diff := cmp.Diff(was, is, cmp.Comparer(sameTime)); diff != "" {
			t.Errorf("the kernel answers otherwise (-recorded +now):\n%s", diff)
		}
	}
}

// parsed reads a line. What counts up from one packet to the next, the
// identification, is left out.
func parsed(t *testing.T, line []byte) question {
	t.Helper()
	r, err := parse(regexp.MustCompile(` id=\d+`).ReplaceAll(line, nil))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sameTime tells whether two are the same but for five seconds, which a busy
// machine may take between a packet and the listing. The timeouts of two states
// differ by more.
func sameTime(a, b Expiry) bool {
	if a == "" || b == "" {
		return a == b
	}
	d := seconds(a) - seconds(b)
	return -5 <= d && d <= 5
}

func seconds(e Expiry) int {
	var m, s int
	fmt.Sscanf(string(e), "%d:%d", &m, &s)
	return 60*m + s
}

func TestARecordingIsWrittenAsItWasRead(t *testing.T) {
	for _, file := range files {
		for i, line := range recorded(t, file) {
			r, err := parse(line)
			if err != nil {
				t.Fatalf("%s line %d: %v", file, i+1, err)
			}
			if b, err := format(r); err != nil || string(b) != string(line)+"\n" {
				t.Errorf("%s line %d: %v\nread  %s\nwrote %s", file, i+1, err, line, b)
			}
		}
	}
}
