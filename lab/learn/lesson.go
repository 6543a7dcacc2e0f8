// Package learn teaches by labs: a lesson starts a lab, says what to type and why, and
// looks at the real state of the lab to see whether it was done: at the director's
// configuration and connections, at addresses and parameters of the nodes, at the answers
// of real requests. It never looks at the words that were typed.
//
// A [Lesson] is data, one file each, with its texts in both languages beside each other.
// A [Session] goes through it with a student, or types the answers itself. What was done
// is kept in a file by [Store], so that a lesson can be left and continued in a new lab.
package learn

import (
	"fmt"
	"strings"

	"uvs/internal/lang"
	"uvs/lab"
)

// Lesson is one lesson: a lab, and steps in it.
type Lesson struct {
	Name  string
	Title lang.Text // one line of the list
	Goal  lang.Text // what the student knows afterwards
	// Picture shows the nodes with their addresses. It is the same in both languages.
	Picture string
	Ways    lang.Text // how a request and its answer go, as a caption of the picture
	// Topology and Options say what lab the lesson has.
	Topology string
	Options  lab.Options
	Steps    []Step
}

// Step is done when its checks hold and its question, if it has one, was answered.
type Step struct {
	Name  string // stable: results and progress are kept by it
	Title lang.Text
	Task  lang.Text
	// Type is what is to be typed. It is shown, unless the student is to find it himself.
	Type []Line
	Own  bool // the student finds out what to type; "show" prints it
	// Begin, if not nil, sets the stage when the step begins, also in a lab that was built
	// anew.
	Begin  func(*Scene) error
	Checks []Check
	Ask    *Question
	Hints  []lang.Text
	Why    lang.Text // said when the step is done
}

// Line is a line to be typed in a shell of a node.
type Line struct {
	Node, Text string
	// Look marks a line that changes nothing which a later step needs: it is left out when
	// a lab is brought to the state of a later step.
	Look  bool
	Fails bool // the line is to fail, to show a mistake
	Late  bool // it shows what the checks have waited for
}

// on returns lines for a node.
func on(node string, texts ...string) []Line {
	var all []Line
	for _, t := range texts {
		all = append(all, Line{Node: node, Text: t})
	}
	return all
}

// look returns lines for a node that only show something, or make requests.
func look(node string, texts ...string) []Line {
	all := on(node, texts...)
	for i := range all {
		all[i].Look = true
	}
	return all
}

// fails returns a line that only shows something, and fails.
func fails(node, text string) []Line {
	return []Line{{Node: node, Text: text, Look: true, Fails: true}}
}

// late returns lines that show what the step's checks have waited for, such as counters.
func late(node string, texts ...string) []Line {
	all := look(node, texts...)
	for i := range all {
		all[i].Late = true
	}
	return all
}

// lines joins lines in order.
func lines(parts ...[]Line) (all []Line) {
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// Question is asked in a step. The answer is judged by the state of the lab at that time.
type Question struct {
	Text lang.Text
	// Right returns the answer as it would be typed now.
	Right func(*Scene) (string, error)
	// Judge returns nil for a right answer. If it is nil itself, the answer is to be what
	// Right returns.
	Judge func(*Scene, string) *Miss
}

// judge judges an answer.
func (q *Question) judge(s *Scene, answer string) *Miss {
	if q.Judge != nil {
		return q.Judge(s, answer)
	}
	right, err := q.Right(s)
	if err != nil {
		return missed(err)
	}
	if !strings.EqualFold(strings.Join(strings.Fields(answer), " "), right) {
		return &Miss{
			Saw:  lang.Textf("your answer: %s", "你的回答：%s", answer),
			Want: lang.Text{EN: "another one; look again", ZH: "不是这个，请再看一看"},
		}
	}
	return nil
}

// Lessons are all lessons, in the order in which they are best taken.
func Lessons() []*Lesson {
	return []*Lesson{&nat, &dr, &tun, &fullnat, &arp, &schedulers, &persistence,
		&weights, &listings, &broken, &mtu, &overIPv6, &takeover, &benchmark}
}

// Find returns the lesson called name.
func Find(name string) (*Lesson, error) {
	var names []string
	for _, l := range Lessons() {
		if l.Name == name {
			return l, nil
		}
		names = append(names, l.Name)
	}
	return nil, fmt.Errorf("learn: there is no lesson %q; there are %s", name, strings.Join(names, ", "))
}
