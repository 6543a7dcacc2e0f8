package doctor

import (
	"fmt"
	"io"
	"strings"
)

// Print writes the report as text: a block for each finding, and what was fine in one line.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	for i := range r.Findings {
		r.Findings[i].print(&b)
	}
	for _, u := range r.Unseen {
		fmt.Fprintf(&b, "not looked at: %s\n", u)
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
	fmt.Fprintf(&b, "ok   %d checks: %s\n", len(fine), strings.Join(fine, ", "))
	_, err := io.WriteString(w, b.String())
	return err
}

// words of severities in the text.
var severityWords = map[Severity]string{Error: "ERR ", Warning: "WARN"}

func (f *Finding) print(b *strings.Builder) {
	where := ""
	if f.Host != "" {
		where = "  (" + f.Host + ")"
	}
	fmt.Fprintf(b, "%s %s %s  %s%s\n", severityWords[f.Severity], f.Code, f.Name, f.Summary, where)
	for _, e := range f.Evidence {
		fmt.Fprintf(b, "     seen  %s\n", e)
	}
	fmt.Fprintf(b, "     why   %s\n", f.Why)
	for _, x := range f.Fix {
		on := ""
		if x.On != "" {
			on = "on " + x.On + ":  "
		}
		fmt.Fprintf(b, "     fix   %s%s\n", on, x.Command)
	}
	fmt.Fprintf(b, "     more  %s\n\n", f.Page)
}
