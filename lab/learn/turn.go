package learn

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"uvs/lab"
)

// outcome is what a line of the student has led to.
type outcome int

const (
	stays outcome = iota
	done
	skipped
	again
)

// Patience is how long a check may take to hold after a line was typed: what the line has
// started may need a moment.
const patience = 300 * time.Millisecond

// turn is a step while the student is at it.
type turn struct {
	*Session
	step     *Step
	number   int
	node     string // where lines are typed
	began    time.Time
	tries    int
	hints    int
	shown    bool
	answered bool
}

// done describes the step as done.
func (t *turn) done(by By) Done {
	return Done{Step: t.step.Name, Began: t.began, Ended: time.Now(), By: by, Tries: t.tries, Hints: t.hints, Shown: t.shown}
}

// obey does what a line says: a word of the lesson, or a line for a shell.
func (t *turn) obey(line string) (outcome, error) {
	line = strings.TrimSpace(line)
	word, rest, _ := strings.Cut(line, " ")
	if word == "answer" {
		return t.answer(strings.TrimSpace(rest)), nil
	}
	if rest != "" {
		return t.typed(line)
	}
	switch word {
	case "", "check":
		return t.check(), nil
	case "hint":
		t.hint()
	case "show":
		t.show()
	case "step":
		t.present(t.number)
	case "help", "?":
		t.say(helpText)
	case "shell":
		return t.shell()
	case "skip":
		return skipped, nil
	case "again":
		return again, nil
	case "quit", "exit":
		return stays, errLeft
	default:
		return t.typed(line)
	}
	return stays, nil
}

// typed runs a line in a node. A line may begin with the node it is for, as in
// "client# curl 172.16.253.63" or "client curl 172.16.253.63"; the node alone is where the
// next lines go.
func (t *turn) typed(line string) (outcome, error) {
	node, text := t.node, line
	word, rest, _ := strings.Cut(line, " ")
	if name := strings.TrimSuffix(word, "#"); t.scene.Lab.Topology.Node(name) != nil {
		node, text = name, strings.TrimSpace(rest)
	}
	if text == "" {
		t.node = node
		return stays, nil
	}
	var exit *lab.ExitError
	if err := t.run(node, text); err != nil && !errors.As(err, &exit) {
		return stays, nil // the lab has ended, which the next line finds out
	}
	return t.glance(), nil
}

// run runs a line in a shell of a node.
func (t *turn) run(node, text string) error {
	c := t.scene.Lab.Command(node, "sh", "-c", text)
	if t.Foreground != nil {
		return t.Foreground(c)
	}
	c.Stdout, c.Stderr = t.Out, t.Out
	return c.Run()
}

// shell opens a shell in the step's node.
func (t *turn) shell() (outcome, error) {
	if t.Foreground == nil {
		t.say(noShell)
		return stays, nil
	}
	_ = t.Foreground(t.scene.Lab.Command(t.node, "sh"))
	return t.glance(), nil
}

// look asks the checks in order, up to the first that does not hold unless all are wanted.
func (t *turn) look(all bool) []*Miss {
	misses := make([]*Miss, len(t.step.Checks))
	for i := range t.step.Checks {
		misses[i] = t.step.Checks[i].Look(t.scene)
		if misses[i] != nil && !all {
			break
		}
	}
	return misses
}

// await looks until all checks hold, or for a time.
func (t *turn) await(within time.Duration) []*Miss {
	for deadline := time.Now().Add(within); ; time.Sleep(20 * time.Millisecond) {
		misses := t.look(false)
		if firstMiss(misses) < 0 || time.Now().After(deadline) {
			return misses
		}
	}
}

func firstMiss(misses []*Miss) int {
	for i, m := range misses {
		if m != nil {
			return i
		}
	}
	return -1
}

// glance looks after a line was typed, and says in one line what is missing.
func (t *turn) glance() outcome {
	misses := t.await(patience)
	if i := firstMiss(misses); i >= 0 {
		t.say(notYet, misses[i].Saw.In(t.Lang), misses[i].Want.In(t.Lang))
		return stays
	}
	return t.held()
}

// held is called when all checks hold.
func (t *turn) held() outcome {
	if t.step.Ask != nil && !t.answered {
		t.question()
		return stays
	}
	t.tries++
	t.praise()
	return done
}

// check says of each check whether it holds.
func (t *turn) check() outcome {
	_ = t.await(patience)
	misses := t.look(true)
	if firstMiss(misses) < 0 {
		return t.held()
	}
	t.tries++
	for i, m := range misses {
		what := t.step.Checks[i].What.In(t.Lang)
		if m == nil {
			fmt.Fprintf(t.Out, "✓ %s\n", what)
			continue
		}
		fmt.Fprintf(t.Out, "✗ %s\n", what)
		t.say(sawWanted, m.Saw.In(t.Lang), m.Want.In(t.Lang))
	}
	return stays
}

// answer judges an answer to the step's question, once all checks hold.
func (t *turn) answer(text string) outcome {
	if t.step.Ask == nil {
		t.say(noQuestion)
		return stays
	}
	if firstMiss(t.look(false)) >= 0 {
		return t.check()
	}
	if miss := t.step.Ask.judge(t.scene, text); miss != nil {
		t.tries++
		fmt.Fprintln(t.Out, "✗")
		t.say(sawWanted, miss.Saw.In(t.Lang), miss.Want.In(t.Lang))
		return stays
	}
	t.answered = true
	return t.held()
}

// hint gives the next hint, and the last one again, uncounted, when there are no more.
func (t *turn) hint() {
	t.hints = min(t.hints+1, max(len(t.step.Hints), 1))
	if n := len(t.step.Hints); n > 0 {
		fmt.Fprintln(t.Out, wrap(t.step.Hints[min(t.hints, n)-1].In(t.Lang), width))
	}
	misses := t.look(false)
	if i := firstMiss(misses); i >= 0 {
		t.say(hintFrom, misses[i].Want.In(t.Lang))
	}
	if t.hints >= len(t.step.Hints) {
		t.say(hintShow)
	}
}

// show prints the answer.
func (t *turn) show() {
	t.shown = true
	t.printLines()
	if t.step.Ask == nil {
		return
	}
	if right, err := t.step.Ask.Right(t.scene); err == nil {
		fmt.Fprintf(t.Out, "    answer %s\n", right)
	}
}
