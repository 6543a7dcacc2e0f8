package main

import (
	"github.com/spf13/cobra"

	"uvs/internal/lang"
)

// langFlag adds the flag --lang, which is for [lang.Of].
func langFlag(cmd *cobra.Command, language *string) {
	cmd.Flags().StringVar(language, "lang", "", "`LANGUAGE` of explanations: en or zh (default: by the locale)")
	_ = cmd.RegisterFlagCompletionFunc("lang", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		var all []string
		for _, t := range lang.Tags {
			all = append(all, string(t))
		}
		return all, cobra.ShellCompDirectiveNoFileComp
	})
}
