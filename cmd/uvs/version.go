package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"uvs/internal/features"
)

// versionInfo is what `uvs version` says.
type versionInfo struct {
	Program  string             `json:"program"`
	Version  string             `json:"version"`
	Commit   string             `json:"commit"`   // empty: it was built without
	Modified bool               `json:"modified"` // the source had changes beside the commit
	Go       string             `json:"go"`
	Platform string             `json:"platform"`
	Kernel   string             `json:"kernel"`
	Features []features.Feature `json:"features"`
}

func versionCmd() *cobra.Command {
	var asJSON, try bool
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Show the version, and what of this kernel a director can use",
		Long: `Show the version, the commit and the Go release that the program was built from, and
which features of this kernel were found or missed, with what each miss costs. They are
tried in a network namespace of their own; nothing of the host changes.

  uvs version --json | jq '.features[] | select(.found == false)'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if try {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(features.Try())
			}
			v := versionNow()
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(v)
			}
			return v.print(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	cmd.Flags().BoolVar(&try, strings.TrimPrefix(features.Child, "--"), false, "")
	_ = cmd.Flags().MarkHidden(strings.TrimPrefix(features.Child, "--"))
	return cmd
}

func versionNow() versionInfo {
	v := versionInfo{Program: "uvs", Version: version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				v.Commit = s.Value
			case "vcs.modified":
				v.Modified = s.Value == "true"
			}
		}
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		v.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	v.Features = features.Find("version")
	return v
}

func (v *versionInfo) print(w io.Writer) error {
	commit := v.Commit
	if commit == "" {
		commit = "unknown"
	}
	if v.Modified {
		commit += ", with changes"
	}
	fmt.Fprintf(w, "uvs %s\ncommit   %s\nGo       %s, %s\nkernel   %s\n\n", v.Version, commit, v.Go, v.Platform, v.Kernel)
	for _, f := range v.Features {
		mark := "found "
		if !f.Found {
			mark = "MISSED"
		}
		fmt.Fprintf(w, "%s  %-16s %s\n", mark, f.Name, f.Use)
		if !f.Found {
			fmt.Fprintf(w, "        why:  %s\n        cost: %s\n", strings.ReplaceAll(f.Why, "\n", "; "), f.Cost)
		}
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(w, "\nTried as root of a user namespace, as labs do. A director of this host needs CAP_NET_ADMIN and CAP_NET_RAW.")
	}
	return nil
}
