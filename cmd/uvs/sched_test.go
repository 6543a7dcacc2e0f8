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
		`sched sim -s best`:                             `there is no scheduler "best"; there are dh, `,
		`sched sim -w 1,-1`:                             "server 2: weight -1: 0 or more",
		`sched sim -b quick`:                            `no scheduler flag "quick"`,
		`sched sim --event "5s explode 2"`:              `the action "explode" is not one of fail, `,
		`sched sim --event "5s fail 9"`:                 "there is no server 9; they are counted from 1 to 3",
		`sched sim --event "5s weight 2"`:               "weight takes 1 number after the server, not 0",
		`sched sim --limit 9=5`:                         "--limit 9=5: there is no server 9; --weights makes 3, counted from 1",
		`sched sim --arrivals normal`:                   `arrivals: "normal" is not one of fixed, `,
		`sched sim --popularity 0.5 --addresses 5`:      "a Zipf exponent is above 1",
		`sched sim --rate 0`:                            "rate 0: more than 0 a second",
		`sched sim --workload testdata/no-such-file`:    "no such file",
		`sched sim -w 1,1,1 --limit 1=2:3 -n 1`:         "--limit 1=2:3: the lower threshold is above the upper one",
		`sched sim --event "5s scheduler best" -n 1000`: `no scheduler "best"`,
		`sched sim --limit 2`:                           "--limit 2: not of the form SERVER=UPPER",
		`sched sim --limit 2=3:2:1`:                     "not of the form SERVER=UPPER",
		`sched sim --slow 1,2,3,4`:                      "--slow has 4 values, but --weights makes 3 servers",
		`sched sim --event "5s limit 2 3 4"`:            "the lower threshold is above the upper one",
		`sched sim --event "5s add 0"`:                  "there is no server 0; they are counted from 1",
	} {
		if _, err := runLine(line); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("uvs %s: %v, want %q", line, err, want)
		}
	}
}
