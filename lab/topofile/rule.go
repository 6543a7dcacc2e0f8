package topofile

import (
	"fmt"
	"slices"
	"strings"

	"uvs/lab"
	"uvs/sched"
)

// rule reports what a director would say against a command of ipvsadm once it runs.
func rule(words lab.Command) error {
	parsed, err := lab.IPVSRule(words)
	if err != nil || parsed == nil || parsed.Command == nil || parsed.Command.Service == nil {
		return err
	}
	s := parsed.Command.Service
	known := append(sched.Names(), "none") // none takes no new connections
	switch {
	case s.Scheduler != "" && !slices.Contains(known, s.Scheduler):
		return fmt.Errorf("there is no scheduler %q; there are %s", s.Scheduler, strings.Join(known, ", "))
	case s.PE != "" && s.PE != "sip":
		return fmt.Errorf("there is no persistence engine %q; there is sip", s.PE)
	}
	return nil
}
