package doctor

import (
	"fmt"
	"io"
	"strings"

	"uvs/internal/lang"
)

// Print writes the report as text: a block for each finding, and what was fine in one line.
// What was seen is told in English.
func (r *Report) Print(w io.Writer, tag lang.Tag) error {
	var b strings.Builder
	for i := range r.Findings {
		r.Findings[i].print(&b, tag)
	}
	for _, u := range r.Unseen {
		fmt.Fprintf(&b, "%s: %s\n", wordsOfReport.unseen.In(tag), u)
	}
	bad := map[string]bool{}
	for i := range r.Findings {
		bad[r.Findings[i].Code] = true
	}
	var fine []string
	for _, c := range Codes {
		if !bad[c.Code] {
			fine = append(fine, c.Name)
		}
	}
	fmt.Fprintf(&b, "ok   %d %s: %s\n", len(fine), wordsOfReport.checks.In(tag), strings.Join(fine, ", "))
	_, err := io.WriteString(w, b.String())
	return err
}

// words of severities in the text.
var severityWords = map[Severity]string{Error: "ERR ", Warning: "WARN"}

// wordsOfReport are the labels of a report, as wide in both languages where they are in a
// column.
var wordsOfReport = struct{ seen, why, fix, more, on, unseen, checks lang.Text }{
	seen: lang.Text{EN: "seen", ZH: "现象"}, why: lang.Text{EN: "why ", ZH: "原因"}, fix: lang.Text{EN: "fix ", ZH: "解决"},
	more: lang.Text{EN: "more", ZH: "详见"}, on: lang.Text{EN: "on %s:  ", ZH: "在 %s 上：  "},
	unseen: lang.Text{EN: "not looked at", ZH: "未检查"}, checks: lang.Text{EN: "checks", ZH: "项检查"},
}

func (f *Finding) print(b *strings.Builder, tag lang.Tag) {
	words := &wordsOfReport
	where := ""
	if f.Host != "" {
		where = "  (" + f.Host + ")"
	}
	fmt.Fprintf(b, "%s %s %s  %s%s\n", severityWords[f.Severity], f.Code, f.Name, f.Summary, where)
	for _, e := range f.Evidence {
		fmt.Fprintf(b, "     %s  %s\n", words.seen.In(tag), e)
	}
	fmt.Fprintf(b, "     %s  %s\n", words.why.In(tag), Why(f.Code).In(tag))
	for _, x := range f.Fix {
		on := ""
		if x.On != "" {
			on = fmt.Sprintf(words.on.In(tag), x.On)
		}
		fmt.Fprintf(b, "     %s  %s%s\n", words.fix.In(tag), on, x.Command)
	}
	fmt.Fprintf(b, "     %s  %s\n\n", words.more.In(tag), f.Page)
}
