package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"uvs/lab"
	"uvs/lab/topofile"
)

func labExportCmd() *cobra.Command {
	var f topologyFlags
	var name *string
	cmd := &cobra.Command{
		Use:   "export [TOPOLOGY|FILE]",
		Short: "Write a topology as a file that makes the same lab",
		Long: `Writes a topology as YAML, for uvs lab up FILE: a built-in one with its options, or that
of a running lab as it was started or changed by uvs lab apply, with its links as uvs lab
link has made them. Without TOPOLOGY it is that of the newest lab, or of the one that --lab
names. What else was typed into a lab is not in its topology. docs/topology.md explains the words of the file.`,
		Example: "  uvs lab export nat > my.yaml\n  uvs lab export dr --rs 4 --bare\n  uvs lab export --lab nat",
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := f.exported(cmd, *name, args)
			if err != nil {
				return err
			}
			text, err := topofile.Format(&t)
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
	name = labFlag(cmd)
	f.add(cmd)
	return cmd
}

// exported returns the topology that is asked for.
func (f *topologyFlags) exported(cmd *cobra.Command, name string, args []string) (lab.Topology, error) {
	switch {
	case len(args) > 1:
		return lab.Topology{}, oneTopology(args)
	case len(args) == 1 && name != "":
		return lab.Topology{}, errors.New("--lab is for the topology of a running lab: leave out the other")
	case len(args) == 0:
		for _, flag := range []string{"rs", "bare", "mtu", "offload", "vip-on-director", "seed"} {
			if cmd.Flags().Changed(flag) {
				return lab.Topology{}, errors.New("--" + flag + " goes with a topology by name: a running lab is as it is")
			}
		}
		l, err := lab.Attach(name)
		if err != nil {
			return lab.Topology{}, err
		}
		info, err := l.Info()
		if err != nil {
			return lab.Topology{}, err
		}
		for _, l := range info.Links {
			if l.Impair == nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "uvs: link %s: its directions differ, and a file has one for both: left is that from the node, if it is impaired\n", l.Name)
			}
		}
		return info.Now(), nil
	}
	t, err := f.topology(cmd, args[0])
	if f.name != "" {
		t.Name = f.name
	}
	return t, err
}
