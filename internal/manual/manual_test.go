package manual

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

var day = time.Date(2026, 1, 31, 0, 0, 0, 0, time.UTC)

func tree() *cobra.Command {
	root := &cobra.Command{Use: "uvs"}
	lab := &cobra.Command{Use: "lab", Short: "Labs", Run: func(*cobra.Command, []string) {}}
	up := &cobra.Command{
		Use:   "up TOPOLOGY",
		Short: "Start a lab that can't end",
		Long: `.Starts a lab. A long line is broken where it has to be, and this one has to be because it is long.

  a table    stays \ as it is

  -x, --example NAME   what NAME is
      --other          another`,
		Example: "  uvs lab up nat",
		Run:     func(*cobra.Command, []string) {},
	}
	up.Flags().StringP("name", "n", "nat", "`NAME` of the lab")
	lab.AddCommand(up)
	root.AddCommand(lab, &cobra.Command{Use: "secret", Hidden: true, Run: lab.Run})
	return root
}

const wanted = `.TH UVS\-LAB\-UP 8 2026-01-31 uvs "System Manager\(aqs Manual"
.SH NAME
uvs\-lab\-up \-
Start a lab that can\(aqt end
.SH SYNOPSIS
\fBuvs lab up\fR
TOPOLOGY [flags]
.SH DESCRIPTION
\&.Starts a lab. A long line is broken where it has to be, and
this one has to be because it is long.
.PP
.nf
  a table    stays \e as it is
.fi
.TP
\fB\-x, \-\-example NAME\fR
what NAME is
.TP
\fB\-\-other\fR
another
.SH OPTIONS
.TP
\fB\-h\fR, \fB\-\-help\fR
help for up
.TP
\fB\-n\fR, \fB\-\-name\fR \fINAME\fR
NAME of the lab (default nat)
.SH EXAMPLES
.nf
  uvs lab up nat
.fi
.SH SEE ALSO
.BR uvs (8),
.BR uvs\-lab (8)
`

func TestAPageHasTheTextsOfHelp(t *testing.T) {
	up, _, err := tree().Find([]string{"lab", "up"})
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(wanted, string(Page(up, day))); d != "" {
		t.Error(d)
	}
}

func TestEachCommandThatIsShownHasAPage(t *testing.T) {
	dir := t.TempDir()
	if err := Write(dir, tree(), day, func(*cobra.Command) bool { return false }); err != nil {
		t.Fatal(err)
	}
	found, _ := filepath.Glob(filepath.Join(dir, "*"))
	var names []string
	for _, f := range found {
		names = append(names, filepath.Base(f))
	}
	if d := cmp.Diff([]string{"uvs-lab-up.8", "uvs-lab.8"}, names); d != "" {
		t.Error(d)
	}
}

// A line of the source has at most 80 bytes, whatever it says.
func TestNoLineOfAPageIsTooLong(t *testing.T) {
	c := &cobra.Command{Use: "x", Short: strings.Repeat("so ", 60), Long: "  " + strings.Repeat("table ", 40), Run: func(*cobra.Command, []string) {}}
	for line := range strings.Lines(string(Page(c, day))) {
		if len(line) > 80 {
			t.Errorf("%d bytes: %s", len(line), line)
		}
	}
}

func TestAFolderThatIsNotThereIsAnError(t *testing.T) {
	err := Write(filepath.Join(t.TempDir(), "none"), tree(), day, func(*cobra.Command) bool { return false })
	if !os.IsNotExist(err) {
		t.Errorf("got %v", err)
	}
}
