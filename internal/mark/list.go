package mark

import (
	"fmt"
	"io"
	"net/netip"
	"text/tabwriter"

	"uvs/forwarder/config"
)

// Print lists rules like iptables -L -n.
func Print(w io.Writer, rules []config.MarkRule) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "num\tmark\tprot\tsource\tdestination\tports")
	for i, r := range rules {
		proto, _ := r.Proto.MarshalText()
		if r.Proto == 0 {
			proto = []byte("all")
		}
		fmt.Fprintf(t, "%d\t%#x\t%s\t%s\t%s\t%s\n", i+1, r.Mark, proto, prefixText(r.Src), prefixText(r.Dst), portWords(r))
	}
	return t.Flush()
}

func prefixText(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return "anywhere"
	case p.IsSingleIP():
		return p.Addr().String()
	}
	return p.String()
}

func portWords(r config.MarkRule) string {
	text := ""
	if r.SrcPorts != (config.PortRange{}) {
		text = "spt:" + r.SrcPorts.String()
	}
	if r.DstPorts != (config.PortRange{}) {
		if text != "" {
			text += " "
		}
		text += "dpt:" + r.DstPorts.String()
	}
	return text
}

// Lines returns the commands that replace any rules by these, for a rules file.
func Lines(rules []config.MarkRule) []string {
	lines := []string{"mark -F"}
	for _, r := range rules {
		lines = append(lines, "mark -A "+r.String())
	}
	return lines
}
