package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"uvs/lab"
	"uvs/lab/topofile"
)

// labCmd builds networks of namespaces and runs commands in them.
func labCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Namespace labs: a client, a director and real servers on one machine",
		Long: `A lab is a client, a director, real servers and, where the topology has one, a
gateway, each in a network namespace. It needs no root, no image and no set-up,
and leaves nothing behind: everything ends with its supervisor process.

Topologies: nat, dr, tun, fullnat, dr-gateway; mixed (servers by NAT, DR and a tunnel in
one service), two-vips, cache-farm (lblcr by mark); with a 6 at the end (nat6, mixed6, but
for dr-gateway) the same over IPv6. With two directors and keepalived: ha, ha-dr, ha-tun,
ha-fullnat, and ha6 and so on. Or your own, in a file: uvs lab export writes one to begin
with, docs/topology.md explains its words.`,
		Example: `  uvs lab run nat
  uvs lab up nat --bare
  uvs lab exec director -- ipvsadm -A -t 172.16.253.63:80 -s rr
  uvs lab exec client -- curl -s 172.16.253.63
  uvs lab down
  uvs lab export nat > my.yaml
  uvs lab up my.yaml`,
	}
	return group(cmd, labUpCmd(), labRunCmd(), labExportCmd(), labApplyCmd(), labExecCmd(), labShellCmd(), labListCmd(),
		labCaptureCmd(), labWatchCmd(), labGraphCmd(),
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
	seed          uint64
}

func (f *topologyFlags) add(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.IntVar(&f.options.RealServers, "rs", 0, "number of real servers (default 2, in mixed 3)")
	fl.StringVar(&f.name, "name", "", "name of the lab (default: the topology's)")
	fl.BoolVar(&f.vipOnDirector, "vip-on-director", true, "the director's interface holds the VIP; if not, only its ARP answers for it")
	fl.IntVar(&f.options.MTU, "mtu", 1500, "MTU of every network in bytes")
	fl.BoolVar(&f.offload, "offload", true, "checksum and segmentation offload on every interface")
	fl.Uint64Var(&f.seed, "seed", lab.DefaultSeed, "where chance begins on links that are impaired")
	fl.BoolVar(&f.options.Bare, "bare", false, "leave the director without services and the real servers without the VIP")
	cmd.ValidArgsFunction = completeTopology
}

// completeTopology completes the name of a topology, or that of a file.
func completeTopology(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return topologyNames(), cobra.ShellCompDirectiveDefault
}

// start builds a topology and starts it as a lab.
func (f *topologyFlags) start(cmd *cobra.Command, topology string) (*lab.Lab, error) {
	t, err := f.topology(cmd, topology)
	if err != nil {
		return nil, err
	}
	return lab.Start(t, lab.Config{Name: f.name})
}

// topology returns a built-in topology by its name, or that of a file, with the flags applied.
func (f *topologyFlags) topology(cmd *cobra.Command, name string) (lab.Topology, error) {
	t, err := f.named(cmd, name)
	if cmd.Flags().Changed("seed") {
		t.Seed = f.seed
	}
	return t, err
}

// named is topology without the flags that any topology takes as they are.
func (f *topologyFlags) named(cmd *cobra.Command, name string) (lab.Topology, error) {
	given := cmd.Flags().Changed
	f.options.VIPElsewhere, f.options.NoOffload = !f.vipOnDirector, !f.offload
	if f.options.MTU < 576 || f.options.MTU > 65521 {
		return lab.Topology{}, fmt.Errorf("--mtu %d: it can be 576 to 65521", f.options.MTU)
	}
	if given("rs") && f.options.RealServers < 1 {
		return lab.Topology{}, fmt.Errorf("--rs %d: at least one real server", f.options.RealServers)
	}
	if !isFile(name) {
		return lab.Build(name, f.options)
	}
	for flag, why := range map[string]string{"rs": "how many real servers there are", "vip-on-director": "where the VIP is"} {
		if given(flag) {
			return lab.Topology{}, fmt.Errorf("--%s goes with a topology by name: a file says itself %s", flag, why)
		}
	}
	if !given("mtu") {
		f.options.MTU = 0
	}
	t, err := readTopology(cmd.InOrStdin(), name)
	if err == nil {
		t.Vary(f.options)
	}
	return t, err
}

// isFile reports whether a word names a file and not a built-in topology.
func isFile(name string) bool {
	if name == "-" || strings.ContainsAny(name, "/.") {
		return true
	}
	_, err := os.Stat(name)
	return err == nil && !slices.Contains(topologyNames(), name)
}

// readTopology reads a topology file; "-" is standard input.
func readTopology(stdin io.Reader, name string) (lab.Topology, error) {
	if name == "-" {
		text, err := io.ReadAll(stdin)
		if err != nil {
			return lab.Topology{}, fmt.Errorf("lab: standard input: %w", err)
		}
		return topofile.Parse("stdin", text)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return lab.Topology{}, fmt.Errorf("lab: topology file: %w", err)
	}
	return topofile.Parse(name, text)
}

func topologyNames() []string { return append(lab.Names(), lab.PairNames()...) }

// oneTopology checks the arguments of up and run.
func oneTopology(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("name one topology: %s; or a file, such as ./my.yaml", strings.Join(topologyNames(), ", "))
	}
	return nil
}
