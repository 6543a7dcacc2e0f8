package recording

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"uvs/internal/kernelvm"
)

func TestMain(m *testing.M) {
	Inside()
	os.Exit(m.Run())
}

// files have recordings that can be made anew. Of those the sample has one in so many,
// beginning with the number first.
var files = map[string]struct{ every, first int }{
	"sched/testdata/recorded.jsonl":        {10, 3}, // without the lives that are about short times
	"sched/testdata/asked.jsonl":           {10, 3},
	"conntrack/testdata/tcpstate.jsonl":    {10, 3},
	"modes/testdata/xform.jsonl":           {5, 2},
	"modes/testdata/edges.jsonl":           {6, 0},
	"forwarder/testdata/ftp.jsonl":         {3, 0},
	"forwarder/testdata/ftp2.jsonl":        {6, 1},
	"forwarder/testdata/bypass.jsonl":      {4, 0},
	"forwarder/testdata/stories.jsonl":     {}, // they are about seconds, which a busy machine takes longer
	"internal/ipvsadm/testdata/cli.jsonl":  {37, 3},
	"internal/ipvsadm/testdata/more.jsonl": {160, 3},
}

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
	var questions [][]byte
	for _, file := range slices.Sorted(maps.Keys(files)) {
		sample := files[file]
		for i, line := range recorded(t, file) {
			if sample.every > 0 && i%sample.every == sample.first {
				questions = append(questions, line)
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	// On a machine that stood still for a while a connection has ended before the listing:
	// what was answered otherwise is asked again.
	for range 2 {
		questions, _ = answeredOtherwise(ctx, t, questions)
		if len(questions) == 0 {
			return
		}
	}
	_, diffs := answeredOtherwise(ctx, t, questions)
	for _, diff := range diffs {
		t.Errorf("the kernel answers otherwise (-recorded +now):\n%s", diff)
	}
}

// answeredOtherwise asks the kernel and returns the questions with another answer than
// recorded, and the differences.
func answeredOtherwise(ctx context.Context, t *testing.T, questions [][]byte) (other [][]byte, diffs []string) {
	t.Helper()
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
		diff := cmp.Diff(was, is, cmp.Comparer(sameTime), cmp.AllowUnexported(Story{}, Invocation{}, member{}))
		if diff != "" {
			other, diffs = append(other, questions[i]), append(diffs, diff)
		}
	}
	return other, diffs
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

func TestARecordingIsWrittenAsItWasRead(t *testing.T) {
	for file := range files {
		for i, line := range recorded(t, file) {
			r, err := parse(line)
			if err != nil {
				t.Fatalf("%s line %d: %v", file, i+1, err)
			}
			if b, err := format(r, line); err != nil || string(b) != string(line)+"\n" {
				t.Errorf("%s line %d: %v\nread  %s\nwrote %s", file, i+1, err, line, b)
			}
		}
	}
}
