package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"uvs/internal/doctor"
	"uvs/internal/lang"
	"uvs/lab"
)

func labRevealCmd() *cobra.Command {
	var name *string
	var asJSON bool
	var language string
	cmd := &cobra.Command{
		Use:   "reveal",
		Short: "Name the mistakes that uvs lab break has inserted, and explain them",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tag, err := lang.Of(language, os.Getenv)
			if err != nil {
				return err
			}
			l, err := lab.Attach(*name)
			if err != nil {
				return err
			}
			all, err := l.Inserted()
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(revealed(l, all, tag))
			}
			return printRevealed(cmd.OutOrStdout(), l, all, tag)
		},
	}
	name = labFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	langFlag(cmd, &language)
	return cmd
}

// explained is an inserted fault with what is to be said about it.
type explained struct {
	lab.Inserted
	Title string `json:"title"`
	Why   string `json:"why"`
	Fix   string `json:"fix"`
	Page  string `json:"page"` // section of docs/doctor.md
}

func explain1(l *lab.Lab, f *lab.Inserted, tag lang.Tag) explained {
	return explained{
		Inserted: *f, Title: f.Title().In(tag), Why: doctor.Why(f.Code).In(tag), Fix: f.Fix(&l.Topology).In(tag),
		Page: doctor.Page(f.Code),
	}
}

// answerOf is what reveal prints as JSON: the fault that was inserted last, and all.
type answerOf struct {
	Code string `json:"code,omitempty"`
	Name string `json:"name,omitempty"`
	Node string `json:"node,omitempty"`
	What string `json:"what,omitempty"`

	Faults []explained `json:"faults"`
}

func revealed(l *lab.Lab, all []lab.Inserted, tag lang.Tag) answerOf {
	a := answerOf{Faults: []explained{}}
	for i := range all {
		a.Faults = append(a.Faults, explain1(l, &all[i], tag))
	}
	if len(all) > 0 {
		a.Code, a.Name, a.Node, a.What = all[0].Code, all[0].Name, all[0].Node, all[0].What
	}
	return a
}

// Labels of what reveal prints. They are as wide in both languages.
var (
	labelDone = lang.Text{EN: "done", ZH: "操作"}
	labelWhy  = lang.Text{EN: "why ", ZH: "原因"}
	labelFix  = lang.Text{EN: "fix ", ZH: "解决"}
	labelMore = lang.Text{EN: "more", ZH: "详见"}
)

func printRevealed(w io.Writer, l *lab.Lab, all []lab.Inserted, tag lang.Tag) error {
	if len(all) == 0 {
		_, err := fmt.Fprintln(w, lang.Text{
			EN: fmt.Sprintf("nothing was inserted into lab %s", l.Name),
			ZH: fmt.Sprintf("实验环境 %s 没有插入过错误", l.Name),
		}.In(tag))
		return err
	}
	on := lang.Text{EN: "on", ZH: "位于"}.In(tag)
	for i := range all {
		f := explain1(l, &all[i], tag)
		fmt.Fprintf(w, "%s %s  %s %s\n     %s\n", f.Code, f.Name, on, f.Node, f.Title)
		for _, line := range [][2]string{
			{labelDone.In(tag), f.What}, {labelWhy.In(tag), f.Why}, {labelFix.In(tag), f.Fix}, {labelMore.In(tag), f.Page},
		} {
			fmt.Fprintf(w, "     %s  %s\n", line[0], line[1])
		}
	}
	return nil
}
