package explain

import (
	"cmp"
	"slices"
	"strings"

	"uvs/forwarder/config"
)

// Paths counts the ways that packets took through the stages. The zero value is empty.
type Paths struct{ all map[string]*config.Path }

// Add counts a record, which is kept as an example of its path.
func (p *Paths) Add(t *config.Trace) {
	if p.all == nil {
		p.all = map[string]*config.Path{}
	}
	path := PathOf(t)
	if p.all[path] == nil {
		p.all[path] = &config.Path{Path: path}
	}
	kept := *t
	p.all[path].Packets++
	p.all[path].Example = &kept
}

// Sorted returns the paths, the most frequent first.
func (p *Paths) Sorted() []config.Path {
	all := make([]config.Path, 0, len(p.all))
	for _, path := range p.all {
		all = append(all, *path)
	}
	slices.SortFunc(all, func(a, b config.Path) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), strings.Compare(a.Path, b.Path))
	})
	return all
}

// PathOf returns the way that a packet took, as "rx → service → conn.new → sched.wlc".
func PathOf(t *config.Trace) string {
	var words []string
	for i := range t.Steps {
		if w := stageWord(&t.Steps[i], t.Method); w != "" {
			words = append(words, w)
		}
	}
	if t.Verdict != "forward" {
		words = append(words, t.Verdict)
	}
	return strings.Join(words, " → ")
}

func stageWord(s *config.Step, method string) string {
	switch s.Code {
	case "conn-none", "conn-after", "mtu-fits", "mtu-super", "neigh-none":
		return ""
	case "tx-piece":
		return ""
	case "service-none":
		return "service.none"
	}
	switch s.Stage {
	case "guard":
		return ""
	case "conn", "synproxy", "policy":
		return strings.ReplaceAll(s.Code, "-", ".")
	case "sched":
		if s.Pick != nil {
			return "sched." + s.Pick.Scheduler
		}
	case "neigh":
		if s.Code == "neigh-asking" || s.Code == "neigh-silent" {
			return strings.ReplaceAll(s.Code, "-", ".")
		}
		return "neigh"
	case "mtu":
		return strings.ReplaceAll(s.Code, "-", ".")
	case "rewrite":
		if method == "" {
			return "rewrite"
		}
		return "rewrite." + method
	}
	return s.Stage
}

// Opens reports whether a packet began a connection.
func Opens(t *config.Trace) bool {
	return slices.ContainsFunc(t.Steps, func(s config.Step) bool {
		return s.Code == "conn-new" || s.Code == "conn-once" || s.Code == "synproxy-cookie"
	})
}

// SentOn returns the interface on which a packet was sent, "" if it was not.
func SentOn(t *config.Trace) string {
	for i := range t.Steps {
		if t.Steps[i].Code == "tx" {
			return t.Steps[i].Fields["interface"]
		}
	}
	return ""
}

// Ending follows a TCP connection to its end. The zero value is at its beginning.
type Ending struct {
	fin  map[config.Side]bool
	over bool
}

// Sees takes note of a packet of the connection and reports whether it was the last: a
// reset, or the first after both ends have sent their FIN. By the methods whose answers do
// not pass the director the client's FIN has to do.
func (e *Ending) Sees(t *config.Trace) bool {
	flags := t.Packet[strings.LastIndexByte(t.Packet, ' ')+1:]
	if !strings.HasPrefix(t.Packet, "tcp ") {
		return false
	}
	has := func(name string) bool { return slices.Contains(strings.Split(flags, ","), name) }
	switch {
	case has("RST"):
		return true
	case has("FIN"):
		if e.fin == nil {
			e.fin = map[config.Side]bool{}
		}
		e.fin[t.Side] = true
		direct := t.Method != "masq" && t.Method != "fullnat"
		e.over = e.fin[config.Request] && (direct || e.fin[config.Reply])
		return false
	}
	return e.over
}
