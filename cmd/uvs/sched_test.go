package main

import (
	"bytes"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the output of commands into docs/schedulers.md")

const schedulersDoc = "../../docs/schedulers.md"

func TestTheOutputInTheSchedulersDocIsReal(t *testing.T) {
	doc, err := os.ReadFile(schedulersDoc)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(doc), "```\n")
	if len(blocks) < 30 {
		t.Fatalf("%d code blocks", len(blocks)/2)
	}
	for i := 1; i < len(blocks); i += 2 {
		line, output, _ := strings.Cut(blocks[i], "\n")
		got := uvsOutput(t, strings.TrimPrefix(line, "$ uvs "))
		if diff := cmp.Diff(output, got); diff != "" && !*update {
			t.Errorf("%s\n%s", line, diff)
		}
		blocks[i] = line + "\n" + got
	}
	if *update {
		if err := os.WriteFile(schedulersDoc, []byte(strings.Join(blocks, "```\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func uvsOutput(t *testing.T, line string) string {
	t.Helper()
	out, err := runLine(line)
	if err != nil {
		t.Fatalf("uvs %s: %v", line, err)
	}
	return out
}

// runLine runs a command line in which double quotes keep words together.
func runLine(line string) (string, error) {
	var args []string
	for i, part := range strings.Split(line, `"`) {
		if i%2 == 1 {
			args = append(args, part)
			continue
		}
		args = append(args, strings.Fields(part)...)
	}
	var out bytes.Buffer
	root := rootCmd()
	root.SetArgs(args)
	root.SetOut(&out)
	err := root.Execute()
	return out.String(), err
}

func TestSchedSimTellsWhatIsWrong(t *testing.T) {
	for line, want := range map[string]string{
		`sched sim -s best`:                             `sched: no scheduler "best"`,
		`sched sim -w 1,-1`:                             "server 2: weight and slowness",
		`sched sim -b quick`:                            `no scheduler flag "quick"`,
		`sched sim --event "5s explode 2"`:              `no action "explode"`,
		`sched sim --event "5s fail 9"`:                 "there are servers 1 to 3",
		`sched sim --event "5s weight 2"`:               "wrong numbers for weight",
		`sched sim --limit 9=5`:                         "want SERVER=UPPER",
		`sched sim --arrivals normal`:                   `no law "normal"`,
		`sched sim --popularity 0.5 --addresses 5`:      "a Zipf exponent is above 1",
		`sched sim --rate 0`:                            "have to be positive",
		`sched sim --workload testdata/no-such-file`:    "no such file",
		`sched sim -w 1,1,1 --limit 1=2:3 -n 1`:         "the lower threshold at most the upper",
		`sched sim --event "5s scheduler best" -n 1000`: `no scheduler "best"`,
	} {
		if _, err := runLine(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("uvs %s: %v, want %q", line, err, want)
		}
	}
}
