package main

import (
	"encoding/json"
	"errors"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"uvs/lab"
	"uvs/lab/wire"
)

// linkFlags are those of uvs lab link.
type linkFlags struct {
	lab  *string
	only string
	seed uint64
	json bool
}

func labLinkCmd() *cobra.Command {
	var f linkFlags
	cmd := &cobra.Command{
		Use:   "link [LINK [WORD...]]",
		Short: "Impair a link: delay, loss, rate and so on; or pull its cable",
		Long: `Changes what a link does to frames, and shows it. Without words it only shows it,
without a link it shows all of them. A link is named by its node, or NODE:INTERFACE if
the node has several.

Words are merged into what the link has: what they do not name stays, and 0 removes a
value. Spaces or commas separate them. Both directions are impaired by the same values:
a delay of 20ms makes a round trip 40 ms longer.

  delay=20ms      every frame arrives so much later
  jitter=5ms      and up to this much earlier or later than that, in its order
  loss=1%         this share of the frames is lost
  reorder=2%      is overtaken by the following frame
  duplicate=1%    arrives twice
  corrupt=0.1%    has one bit changed
  rate=10mbit     bits a second; what the queue of 100 ms has no room for is lost
  down, up        the cable is pulled, which takes the carrier away, or put in
  heal            everything is removed, and the cable is in

An impaired link is carried by a wire in user space, all others by the kernel. Chance
follows from a seed: the same frames in the same order meet the same fate.`,
		Example: `  uvs lab link rs1 delay=20ms,jitter=5ms loss=1%
  uvs lab link rs1 delay=0
  uvs lab link director:eth1 down
  uvs lab link
  uvs lab heal`,
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	f.lab = labFlag(cmd)
	cmd.ValidArgsFunction = completeLink(f.lab)
	cmd.Flags().BoolVar(&f.json, "json", false, "print JSON")
	cmd.Flags().Uint64Var(&f.seed, "seed", lab.DefaultSeed, "begin the row of chances anew from this number")
	cmd.Flags().StringVar(&f.only, "only", "", "change one `DIRECTION`: in, to the node, or out, from it")
	return cmd
}

func (f *linkFlags) run(cmd *cobra.Command, args []string) error {
	l, err := lab.Attach(*f.lab)
	if err != nil {
		return err
	}
	seeded := cmd.Flags().Changed("seed")
	if len(args) < 2 && !seeded {
		return f.show(cmd.OutOrStdout(), l, args)
	}
	if len(args) == 0 {
		return errors.New("lab link: --seed: name the link")
	}
	c := lab.LinkChange{Link: args[0], Words: strings.Join(args[1:], " "), Only: f.only}
	if seeded {
		c.Seed = &f.seed
	}
	st, err := l.Impair(c)
	if err != nil {
		return err
	}
	return f.print(cmd.OutOrStdout(), []lab.LinkStatus{*st})
}

// show prints one link, or all.
func (f *linkFlags) show(w io.Writer, l *lab.Lab, args []string) error {
	info, err := l.Info()
	if err != nil {
		return err
	}
	if len(args) == 0 {
		return f.print(w, info.Links)
	}
	i, err := info.Link(args[0])
	if err != nil {
		return err
	}
	return f.print(w, []lab.LinkStatus{*i})
}

func (f *linkFlags) print(w io.Writer, links []lab.LinkStatus) error {
	if f.json {
		return json.NewEncoder(w).Encode(append([]lab.LinkStatus{}, links...))
	}
	return lab.PrintLinks(w, links)
}

// completeLink completes a link, and the words for it.
func completeLink(name *string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			words := []string{"down", "up", "heal"}
			for _, n := range wire.Names() {
				words = append(words, n+"=")
			}
			return words, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
		l, err := lab.Attach(*name)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return l.Topology.LinkNames(), cobra.ShellCompDirectiveNoFileComp
	}
}

func labHealCmd() *cobra.Command {
	var name *string
	cmd := &cobra.Command{
		Use:   "heal",
		Short: "Take the impairments from all links, and put all cables in",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			l, err := lab.Attach(*name)
			if err != nil {
				return err
			}
			return l.Heal()
		},
	}
	name = labFlag(cmd)
	return cmd
}
