package learn

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode"

	"uvs/internal/lang"
)

// Verdict is what [Verify] says about a result.
type Verdict struct {
	File    string        `json:"file"`
	Student string        `json:"student"`
	Host    string        `json:"host"`
	Lesson  string        `json:"lesson"`
	Done    int           `json:"done"` // steps
	Total   int           `json:"total"`
	Took    time.Duration `json:"took_ns"` // at the steps, pauses between them not counted
	Tries   int           `json:"tries"`
	Hints   int           `json:"hints"`
	Helped  int           `json:"helped"`               // steps typed by --do, skipped, or done with the answer shown
	Unread  bool          `json:"unreadable,omitempty"` // the file cannot be read at all
	Faults  []lang.Text   `json:"faults"`
}

// OK reports whether the result is whole, unchanged and nobody else's.
func (v *Verdict) OK() bool { return len(v.Faults) == 0 }

// Verify reads results and judges each; unaided ones only are good if that is asked for. A file
// that cannot be read has a verdict like the others.
func Verify(files []string, unaided bool) []Verdict {
	var all []Verdict
	runs := map[string]int{}
	for _, name := range files {
		r, v := verify(name)
		if first, twice := runs[r.Run]; twice && r.Run != "" {
			v.fault("the same run as %s", "与 %s 是同一次操作", all[first].File)
		} else {
			runs[r.Run] = len(all)
		}
		if unaided && v.Helped > 0 {
			v.fault("%d steps were not done unaided", "有 %d 个步骤不是独立完成的", v.Helped)
		}
		all = append(all, v)
	}
	return all
}

// verify judges a file by itself. The result is empty where the file is none.
func verify(name string) (Result, Verdict) {
	data, err := os.ReadFile(name)
	if err != nil {
		v := Verdict{File: name, Unread: true}
		var at *fs.PathError // its path is the file's already
		if errors.As(err, &at) {
			err = at.Err
		}
		v.fault("cannot be read: %v", "无法读取：%v", err)
		return Result{}, v
	}
	r, asWritten, err := readResult(data)
	if err != nil {
		return Result{}, Verdict{File: name, Faults: []lang.Text{{EN: "not a result of uvs learn", ZH: "不是 uvs learn 的结果文件"}}}
	}
	v := r.judge(asWritten)
	v.File = name
	return r, v
}

func (v *Verdict) fault(en, zh string, args ...any) {
	v.Faults = append(v.Faults, lang.Textf(en, zh, args...))
}

// judge judges one result by itself.
func (r *Result) judge(asWritten bool) Verdict {
	v := Verdict{Student: r.Student, Host: r.Host, Lesson: r.Lesson, Total: r.Total}
	if r.Version != progressVersion {
		v.fault("it has version %d, and this uvs reads %d", "文件版本为 %d，此 uvs 只读版本 %d", r.Version, progressVersion)
		return v
	}
	if !asWritten || r.Seal != r.whole() || !r.chained() {
		v.fault("changed after it was written", "写出之后被改动过")
	}
	l, err := Find(r.Lesson)
	if err != nil {
		v.fault("there is no lesson %q", "没有课程 %q", r.Lesson)
		return v
	}
	if r.Digest != l.digest() {
		v.fault("of another version of the lesson (uvs %s)", "课程版本不同（uvs %s）", r.UVS)
	}
	r.count(l, &v)
	r.order(&v)
	if v.Done < v.Total {
		v.fault("not finished", "没有做完")
	}
	return v
}

// chained reports whether each step has the seal that it must have.
func (r *Result) chained() bool {
	before := firstSeal(r.Lesson, r.Run, r.Begun)
	for _, d := range r.Steps {
		if d.Seal != seal(before, d) {
			return false
		}
		before = d.Seal
	}
	return true
}

// count sums up the steps of the lesson.
func (r *Result) count(l *Lesson, v *Verdict) {
	v.Total = len(l.Steps)
	p := Progress{Steps: r.Steps}
	for i := range l.Steps {
		d, ok := p.Of(l.Steps[i].Name)
		if !ok {
			continue
		}
		v.Done++
		v.Took += d.Ended.Sub(d.Began)
		v.Tries += d.Tries
		v.Hints += d.Hints
		if d.By != Student || d.Shown {
			v.Helped++
		}
	}
}

// order looks for times that cannot be.
func (r *Result) order(v *Verdict) {
	last := r.Begun.Add(-time.Second)
	for _, d := range r.Steps {
		if d.Ended.Before(d.Began) || d.Ended.Before(last) || d.Ended.After(r.Written.Add(time.Minute)) {
			v.fault("the times of step %s cannot be", "步骤 %s 的时间不合理", d.Step)
			return
		}
		last = d.Ended
	}
}

// PrintVerdicts writes a table of verdicts.
func PrintVerdicts(w io.Writer, all []Verdict, l lang.Tag) error {
	rows := [][]string{strings.Fields(say("FILE STUDENT HOST LESSON STEPS TIME TRIES HINTS HELPED VERDICT",
		"文件 学生 主机 课程 步骤 用时 次数 提示 代做 结论").In(l))}
	for i := range all {
		v := &all[i]
		var texts []string
		for _, f := range v.Faults {
			texts = append(texts, f.In(l))
		}
		verdict := strings.Join(texts, "; ")
		if v.OK() {
			verdict = say("ok", "合格").In(l)
		}
		rows = append(rows, []string{cell(v.File), cell(v.Student), cell(v.Host), cell(v.Lesson), fmt.Sprintf("%d/%d", v.Done, v.Total),
			v.Took.Round(time.Second).String(), fmt.Sprint(v.Tries), fmt.Sprint(v.Hints), fmt.Sprint(v.Helped), cell(verdict)})
	}
	return table(w, rows)
}

// cell is a text of somebody else as it may stand in a table.
func cell(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, text)
	if text == "" {
		return "-"
	}
	return text
}

func say(en, zh string) lang.Text { return lang.Text{EN: en, ZH: zh} }
