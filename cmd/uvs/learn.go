package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"os/user"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"uvs/internal/lang"
	"uvs/lab"
	"uvs/lab/learn"
)

// learner has the flags of uvs learn.
type learner struct {
	lang, result, student   string
	do, status, reset, json bool
	tag                     lang.Tag
	store                   *learn.Store
	lessons                 []*learn.Lesson
	cmd                     *cobra.Command
}

func learnCmd() *cobra.Command {
	var o learner
	cmd := &cobra.Command{
		Use:   "learn [LESSON]",
		Short: "Lessons in a lab: what to type, and whether it was done",
		Long: `Without a LESSON, lists the lessons with what is done of each. With one, starts its
lab, says step by step what to type and why, and looks at the real state of the lab to
see whether a step is done: at the director, the nodes and the answers of real
requests, never at the words that were typed. Type in the lesson or in another
terminal. It can be left at any time; the next time the lab is brought to the step
where you were.

What was done is kept in $XDG_STATE_HOME/uvs/learn, or ~/.local/state/uvs/learn.
--result FILE writes it to a file for a teacher as well, and goes on with that file
when the lesson is continued; any other file that is there is left as it is. uvs learn
verify judges such files. docs/learn.md says what they can show and what not.`,
		Example: `  uvs learn
  uvs learn nat
  uvs learn nat --lang zh
  uvs learn nat --do
  uvs learn nat --result nat.json --student "Li Lei"`,
		ValidArgsFunction: completeLessons,
		Args:              cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.cmd = cmd
			return o.run(args)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.do, "do", false, "type the answers of the whole lesson, and check them")
	f.BoolVar(&o.status, "status", false, "print the steps, and which are done")
	f.BoolVar(&o.reset, "reset", false, "forget what was done of the lesson")
	f.BoolVar(&o.json, "json", false, "print the list or the status as JSON")
	f.StringVar(&o.result, "result", "", "write what was done to a `FILE`, for a teacher")
	f.StringVar(&o.student, "student", "", "`NAME` in the result (default: as before, or the user's)")
	langFlag(cmd, &o.lang)
	cmd.AddCommand(learnVerifyCmd())
	return cmd
}

func completeLessons(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, l := range learn.Lessons() {
		names = append(names, l.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// run does what the flags ask for.
func (o *learner) run(args []string) (err error) {
	if o.tag, err = lang.Of(o.lang, os.Getenv); err != nil {
		return usage(fmt.Errorf("learn: --lang: %w", err))
	}
	for _, name := range args {
		l, err := learn.Find(name)
		if err != nil {
			return usage(err)
		}
		o.lessons = append(o.lessons, l)
	}
	if err := o.contradictions(); err != nil {
		return usage(fmt.Errorf("learn: %w", err))
	}
	if o.store, err = learn.DefaultStore(); err != nil {
		fmt.Fprintln(o.cmd.ErrOrStderr(), "uvs:", err)
	}
	switch {
	case o.reset:
		return o.forget()
	case len(o.lessons) == 0:
		return o.list()
	case o.status || o.json:
		return o.printStatus()
	}
	return o.take()
}

// contradictions refuses flags that do not go together.
func (o *learner) contradictions() error {
	modes := 0
	for _, on := range []bool{o.do, o.status || o.json, o.reset} {
		if on {
			modes++
		}
	}
	switch {
	case modes > 1:
		return errors.New("--do, --reset and --status or --json exclude each other")
	case len(o.lessons) == 0 && (o.do || o.reset || o.result != ""):
		return errors.New("name a lesson; uvs learn lists them")
	case len(o.lessons) > 1 && (!o.do && !o.reset && !o.status || o.result != ""):
		return errors.New("take one lesson at a time")
	}
	return nil
}

func (o *learner) list() error {
	all := o.store.Status()
	if o.json {
		return printJSON(o.cmd.OutOrStdout(), all)
	}
	return learn.PrintList(o.cmd.OutOrStdout(), all, o.tag)
}

func (o *learner) printStatus() error {
	var all []learn.Status
	for _, l := range o.lessons {
		v, err := o.store.StatusOf(l)
		if err != nil {
			return err
		}
		all = append(all, v)
	}
	if o.json && len(all) == 1 {
		return printJSON(o.cmd.OutOrStdout(), all[0])
	}
	if o.json {
		return json.NewEncoder(o.cmd.OutOrStdout()).Encode(all)
	}
	for i := range all {
		if err := all[i].Print(o.cmd.OutOrStdout(), o.tag); err != nil {
			return err
		}
	}
	return nil
}

func (o *learner) forget() error {
	for _, l := range o.lessons {
		if err := o.store.Reset(l.Name); err != nil {
			return err
		}
	}
	return nil
}

// take goes through the lessons. A signal ends the process, and with it the lab.
func (o *learner) take() error {
	ctx, stop := signal.NotifyContext(o.cmd.Context(), unix.SIGTERM, unix.SIGHUP)
	defer stop()
	for _, l := range o.lessons {
		s := &learn.Session{Lesson: l, Lang: o.tag, Out: o.cmd.OutOrStdout(), Store: o.store, Result: o.result, Author: o.author()}
		restore, do := func() {}, s.Do
		if o.do {
			s.LabName = fmt.Sprintf("learn-%s-%d", l.Name, os.Getpid())
		} else {
			restore, do = o.atTerminal(s), s.Learn
		}
		unhook := context.AfterFunc(ctx, func() {
			restore()
			os.Exit(128 + int(unix.SIGTERM))
		})
		err := do(ctx)
		if unhook(); err != nil {
			return err
		}
	}
	return nil
}

// atTerminal gives a session what the student types, with line editing if that is a
// terminal. The function it returns makes the terminal what it was before.
func (o *learner) atTerminal(s *learn.Session) (restore func()) {
	in, isFile := o.cmd.InOrStdin().(*os.File)
	if !isFile || !term.IsTerminal(int(in.Fd())) {
		s.In = learn.NewLines(o.cmd.InOrStdin(), s.Out)
		return func() {}
	}
	t := learn.NewTerminal(in, os.Stdout)
	s.In, s.Foreground = t, lab.Terminal
	return t.Restore
}

func (o *learner) author() learn.Author {
	a := learn.Author{Student: o.student, UVS: version()}
	if u, err := user.Current(); err == nil {
		a.User = u.Username
	}
	a.Host, _ = os.Hostname()
	return a
}
