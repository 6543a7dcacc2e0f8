package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

func init() {
	checks = append(checks, checkHost, checkBeside)
}

// aClockSays is a time before which no clock that is right can be: this program is younger.
var aClockSays = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// checkHost looks at what the director needs of its host.
func checkHost(s *Scene) (found []Finding) {
	h := s.director()
	for _, l := range h.Links {
		if l.LRO && l.Up {
			found = append(found, find(LargeReceive, Error, h, l.Name+" joins segments in hardware",
				fmt.Sprintf("ethtool -k %s: large-receive-offload: on", l.Name)).fixed(h.Name, "ethtool -K "+l.Name+" lro off"))
		}
	}
	if !h.Time.IsZero() && h.Time.Before(aClockSays) {
		found = append(found, find(Clock, Warning, h, "the clock is wrong", "date: "+h.Time.Format(time.RFC3339)).
			fixed(h.Name, "timedatectl set-ntp true"))
	}
	if d := h.Director; d != nil && len(d.Lacks) > 0 {
		found = append(found, find(Capabilities, Error, h, "the director lacks "+strings.Join(d.Lacks, " and "),
			fmt.Sprintf("/proc/%d/status, CapEff", d.PID)).
			fixed(h.Name, "setcap cap_net_admin,cap_net_raw=ep \"$(command -v uvs)\"", "uvs director --replace"))
	}
	return found
}

// checkBeside looks for a second director in the network namespace.
func checkBeside(s *Scene) (found []Finding) {
	for _, h := range s.directors() {
		if h.Director == nil || len(h.Director.Others) == 0 {
			continue
		}
		o := slices.MaxFunc(h.Director.Others, func(a, b Other) int { return a.PID - b.PID })
		found = append(found, find(TwoDirectors, Error, h, fmt.Sprintf("two directors serve %s", o.Addr),
			fmt.Sprintf("process %d at the control socket %s serves it too", o.PID, o.Socket)).
			fixed(h.Name, fmt.Sprintf("kill %d", o.PID)))
	}
	return found
}
