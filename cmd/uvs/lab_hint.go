package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"uvs/internal/lang"
	"uvs/lab"
)

func labHintCmd() *cobra.Command {
	var name *string
	var asJSON bool
	var language string
	cmd := &cobra.Command{
		Use:   "hint",
		Short: "Help to find the mistake that uvs lab break has inserted, in three steps",
		Long: `Says where to look, when asked again at what and with which command, and then nearly
the answer. It is about the mistake that was inserted last; the lab counts the hints.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tag, err := lang.Of(language, os.Getenv)
			if err != nil {
				return err
			}
			l, err := lab.Attach(*name)
			if err != nil {
				return err
			}
			h, err := l.Hint()
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(hintLine{Number: h.Number, Of: lab.Hints, Hint: h.Text.In(tag), Last: h.Last})
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), hintText(l, h).In(tag))
			return err
		},
	}
	name = labFlag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	langFlag(cmd, &language)
	return cmd
}

// hintLine is what `uvs lab hint --json` prints.
type hintLine struct {
	Number int    `json:"number"` // 0: nothing was inserted
	Of     int    `json:"of"`
	Hint   string `json:"hint"`
	Last   bool   `json:"last"`
}

func hintText(l *lab.Lab, h lab.Hint) lang.Text {
	if h.Number == 0 {
		return lang.Text{
			EN: fmt.Sprintf("nothing was inserted into lab %[1]s; whether it works: uvs lab check %[1]s\n", l.Name),
			ZH: fmt.Sprintf("实验环境 %[1]s 没有插入过错误；是否正常：uvs lab check %[1]s\n", l.Name),
		}
	}
	t := lang.Text{
		EN: fmt.Sprintf("hint %d of %d: %s\n", h.Number, lab.Hints, h.Text.EN),
		ZH: fmt.Sprintf("提示 %d/%d：%s\n", h.Number, lab.Hints, h.Text.ZH),
	}
	if h.Last {
		t.EN += fmt.Sprintf("the answer: uvs lab reveal --lab %s\n", l.Name)
		t.ZH += fmt.Sprintf("答案：uvs lab reveal --lab %s\n", l.Name)
		return t
	}
	t.EN += fmt.Sprintf("more: uvs lab hint --lab %s\n", l.Name)
	t.ZH += fmt.Sprintf("更多提示：uvs lab hint --lab %s\n", l.Name)
	return t
}
