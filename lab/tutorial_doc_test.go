package lab_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"uvs/lab"
	"uvs/lab/labtest"
)

var updateTutorial = flag.Bool("update", false, "write the output of commands into docs/tutorial.md")

const tutorialDoc = "../docs/tutorial.md"

// typed is a command of docs/tutorial.md, and where in the file the lines below it are.
type typed struct {
	nodes   []string // none: typed outside the lab
	command string
	from    int // first line of its output
	to      int // first line after it
}

// experiment is what the page types between "uvs lab up" and "uvs lab down".
type experiment struct {
	topology string
	commands []typed
}

var prompt = regexp.MustCompile(`^    (\$|[a-z0-9,]+#) (.*)$`)

// experiments finds them in the lines of the page.
func experiments(lines []string) []experiment {
	var all []experiment
	var open bool
	for i, line := range lines {
		m := prompt.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		c := typed{command: m[2], from: i + 1, to: outputEnd(lines, i+1)}
		if m[1] != "$" {
			c.nodes = strings.Split(strings.TrimSuffix(m[1], "#"), ",")
		}
		if name, up := strings.CutPrefix(c.command, "uvs lab up "); up && m[1] == "$" {
			all, open = append(all, experiment{topology: strings.TrimSuffix(name, " --bare")}), true
		}
		if c.command == "uvs lab down" {
			open = false
		}
		if open {
			all[len(all)-1].commands = append(all[len(all)-1].commands, c)
		}
	}
	return all
}

// outputEnd returns the first line from i on that is not output: a prompt, text, or the empty
// line before it.
func outputEnd(lines []string, i int) int {
	end := i
	for ; i < len(lines) && !prompt.MatchString(lines[i]); i++ {
		if strings.HasPrefix(lines[i], "    ") {
			end = i + 1
		} else if lines[i] != "" {
			break
		}
	}
	return end
}

// The outputs in the tutorial are what its commands print in a lab.
func TestTheTutorialPrintsWhatItSays(t *testing.T) {
	text, err := os.ReadFile(tutorialDoc)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	all := experiments(lines)
	if len(all) != 4 {
		t.Fatalf("%d experiments in %s, want one for each method", len(all), tutorialDoc)
	}
	printed := map[int]string{} // by the command's first line of output
	for _, s := range all {
		t.Run(s.topology, func(t *testing.T) {
			l := labtest.Start(t, labtest.Build(t, s.topology, lab.Options{Bare: true}))
			for _, c := range s.commands {
				printed[c.from] = c.check(t, l, unindent(lines[c.from:c.to]))
			}
		})
	}
	if *updateTutorial && !t.Failed() {
		writeTutorial(t, lines, all, printed)
	}
}

// check runs a command and compares what it prints, as often as a listing may need to become so.
func (c typed) check(t *testing.T, l *lab.Lab, want string) string {
	t.Helper()
	if c.nodes == nil {
		return c.up(t, l, want)
	}
	var got string
	for _, node := range c.nodes {
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
			got = c.run(t, l, node)
			come := alike(got) == alike(want) || *updateTutorial && !nothingCounted.MatchString(got)
			if come || !c.looks() || time.Now().After(deadline) {
				break
			}
		}
		if alike(got) != alike(want) && !*updateTutorial {
			t.Errorf("%s# %s\ngot\n%s\nthe page says\n%s", node, c.command, got, want)
		}
	}
	return got
}

// up compares the table of a lab that the page has started, if it shows it.
func (c typed) up(t *testing.T, l *lab.Lab, want string) string {
	t.Helper()
	if want == "" {
		return ""
	}
	info, err := l.Info()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "lab %s up in 0.04 s\n", l.Topology.Name)
	if err := info.Print(&b); err != nil {
		t.Fatal(err)
	}
	table, _, _ := strings.Cut(b.String(), "\n\nLeft for you")
	got := table + "\n…\n"
	if alike(got) != alike(want) && !*updateTutorial {
		t.Errorf("$ %s\ngot\n%s\nthe page says\n%s", c.command, got, want)
	}
	return got
}

func (c typed) run(t *testing.T, l *lab.Lab, node string) string {
	t.Helper()
	if program, ok := strings.CutSuffix(c.command, " &"); ok {
		labtest.Exec(t, l, node, "sh", "-c", program+" >/dev/null 2>&1 &")
		awaitLock(t, l, node)
		return ""
	}
	return labtest.Exec(t, l, node, "sh", "-c", c.command)
}

// looks reports whether the command changes nothing, and so can be typed again.
func (c typed) looks() bool {
	return slices.ContainsFunc([]string{"ipvsadm -L", "uvs explain", "ip neigh show"}, func(s string) bool {
		return strings.HasPrefix(c.command, s)
	})
}

var (
	clientPort = regexp.MustCompile(`(:|→ +|port +)\d{4,5}\b`)
	expiry     = regexp.MustCompile(`\b\d\d:\d\d\b`)
	nonzero    = regexp.MustCompile(`^[1-9]\d*$`)

	nothingCounted = regexp.MustCompile(`( +0){5}\n`)
)

// alike returns an output without what differs each time: ports of clients, timers, the order
// of connections, how many packets and bytes a connection took, and who knew a MAC address.
func alike(output string) string {
	lines := strings.Split(strings.TrimRight(output, "\n"), "\n")
	lines = slices.DeleteFunc(lines, func(s string) bool { return strings.Contains(s, "· ") && strings.HasSuffix(s, "MAC address") })
	for i, line := range lines {
		line = expiry.ReplaceAllString(clientPort.ReplaceAllString(line, "${1}port"), "mm:ss")
		f := strings.Fields(line)
		if len(f) == 7 {
			for j := range f[3:] {
				f[3+j] = nonzero.ReplaceAllString(f[3+j], "some")
			}
		}
		lines[i] = strings.Join(f, " ")
	}
	if strings.HasPrefix(output, "IPVS connection entries") {
		slices.Sort(lines)
	}
	return strings.Join(lines, "\n")
}

func unindent(lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(strings.TrimPrefix(line, "    ") + "\n")
	}
	return b.String()
}

// writeTutorial puts what was printed into the page.
func writeTutorial(t *testing.T, lines []string, all []experiment, printed map[int]string) {
	t.Helper()
	for _, s := range slices.Backward(all) {
		for _, c := range slices.Backward(s.commands) {
			var output []string
			for line := range strings.Lines(printed[c.from]) {
				output = append(output, strings.TrimRight("    "+strings.TrimRight(line, "\n"), " "))
			}
			lines = slices.Replace(lines, c.from, c.to, output...)
		}
	}
	if err := os.WriteFile(tutorialDoc, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
}
