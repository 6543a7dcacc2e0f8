package check

import (
	"fmt"
	"io"
	"text/tabwriter"

	"uvs/forwarder/config"
	"uvs/internal/ipvsadm"
)

// Print lists what checks have found, a server a line.
func Print(w io.Writer, all []config.CheckState) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "service\tserver\tby\tcheck\tstate\tweight\tresult")
	for _, s := range all {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%d\t%s\n", s.Service, s.Server, s.Method, s.Check.Name(), state(s), s.Weight, s.Result)
	}
	return t.Flush()
}

// state is the state of a server and what follows from it.
func state(s config.CheckState) string {
	switch {
	case s.Held:
		return s.State + ", held"
	case s.Limited:
		return s.State + ", not held (at most " + fmt.Sprintf("%d%%", s.Check.AtMost) + ")"
	}
	return s.State
}

// Lines returns the commands that add the checks of services, without "uvs".
func Lines(services []config.ServiceState) []string {
	var lines []string
	for _, v := range services {
		for i := range v.Checks {
			lines = append(lines, ipvsadm.FormatCommand(Command{Op: Add, Key: v.Key, Check: &v.Checks[i]}.Config()))
		}
	}
	return lines
}

// Of returns the states of one service.
func Of(all []config.CheckState, k config.Key) []config.CheckState {
	some := []config.CheckState{}
	for _, s := range all {
		if s.Service.Normal() == k.Normal() {
			some = append(some, s)
		}
	}
	return some
}
