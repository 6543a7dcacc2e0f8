package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"uvs/lab"
)

// labCmd builds networks of namespaces and runs commands in them.
func labCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Namespace labs: a client, a director and real servers on one machine",
		Long: `A lab is a client, a director, real servers and, where the topology has one, a
gateway, each in a network namespace. It needs no root, no image and no set-up,
and leaves nothing behind: everything ends with its supervisor process.

Topologies: nat, dr, tun, fullnat, dr-gateway; and nat6, dr6, tun6, fullnat6, the
same over IPv6. With two directors and keepalived: ha, ha-dr, ha-tun, ha-fullnat, and
ha6 and so on.`,
		Example: `  uvs lab run nat
  uvs lab up nat --bare
  uvs lab exec director -- ipvsadm -A -t 172.16.253.63:80 -s rr
  uvs lab exec client -- curl -s 172.16.253.63
  uvs lab down`,
	}
	return group(cmd, labUpCmd(), labRunCmd(), labExecCmd(), labShellCmd(), labListCmd(),
		labInspectCmd(), labLogsCmd(), labKillCmd(), labStartCmd(), labLinkCmd(), labHealCmd(),
		labBreakCmd(), labHintCmd(), labRevealCmd(), labCheckCmd(), labDownCmd())
}

// labFlag adds the flag --lab to a verb for a running lab.
func labFlag(cmd *cobra.Command) *string {
	name := cmd.Flags().String("lab", "", "the lab `NAME`; the newest one unless named")
	_ = cmd.RegisterFlagCompletionFunc("lab", completeLabs)
	cmd.ValidArgsFunction = completeNode(name)
	return name
}

// completeNode completes the first argument with the lab's nodes.
func completeNode(name *string) cobra.CompletionFunc {
	return func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		l, err := lab.Attach(*name)
		if err != nil || len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var nodes []string
		for _, n := range l.Topology.Nodes {
			nodes = append(nodes, n.Name)
		}
		return nodes, cobra.ShellCompDirectiveNoFileComp
	}
}

func completeLabs(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	var names []string
	infos, _ := lab.List()
	for _, in := range infos {
		names = append(names, in.Name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// topologyFlags are the flags of up and run.
type topologyFlags struct {
	options       lab.Options
	name          string
	vipOnDirector bool
	offload       bool
}

func (f *topologyFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.IntVar(&f.options.RealServers, "rs", 2, "number of real servers")
	fl.StringVar(&f.name, "name", "", "name of the lab (default: the topology's)")
	fl.BoolVar(&f.vipOnDirector, "vip-on-director", true, "the director's interface holds the VIP; if not, only its ARP answers for it")
	fl.IntVar(&f.options.MTU, "mtu", 1500, "MTU of every network in bytes")
	fl.BoolVar(&f.offload, "offload", true, "checksum and segmentation offload on every interface")
	fl.BoolVar(&f.options.Bare, "bare", false, "leave the director without services and the real servers without the VIP")
	cmd.ValidArgs = append(lab.Names(), lab.PairNames()...)
}

// start builds the named topology.
func (f *topologyFlags) start(topology string) (*lab.Lab, error) {
	f.options.VIPElsewhere, f.options.NoOffload = !f.vipOnDirector, !f.offload
	if f.options.MTU < 576 || f.options.MTU > 65521 {
		return nil, fmt.Errorf("--mtu %d: it can be 576 to 65521", f.options.MTU)
	}
	if f.options.RealServers < 1 {
		return nil, fmt.Errorf("--rs %d: at least one real server", f.options.RealServers)
	}
	t, err := lab.Build(topology, f.options)
	if err != nil {
		return nil, err
	}
	return lab.Start(t, lab.Config{Name: f.name})
}

// oneTopology checks the arguments of up and run.
func oneTopology(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("name one topology: %s", strings.Join(append(lab.Names(), lab.PairNames()...), ", "))
	}
	return nil
}
