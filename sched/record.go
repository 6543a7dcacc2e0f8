package sched

import "fmt"

// Record is a scheduler's account of one pick, for `uvs explain` and `uvs sched sim
// --explain`: the candidates with the figures compared, and which were left out and
// why. A Record belongs to one goroutine; Reset it between picks. Filling one walks
// the whole server list, which a pick without a Record does not.
type Record struct {
	Scheduler  string      `json:"scheduler"`
	Rule       string      `json:"rule"` // what was compared, in words
	Candidates []Candidate `json:"candidates,omitempty"`
	Chosen     ID          `json:"chosen"` // 0 if none
}

// Candidate is one server of a Record.
type Candidate struct {
	Server ID     `json:"server"`
	Addr   string `json:"addr"`
	Figure string `json:"figure,omitempty"` // the figure compared, with its arithmetic: "(2·256+1)/3 = 171"
	Skip   string `json:"skip,omitempty"`   // why it was left out: "weight 0", "overloaded"; empty if it was not
	Tie    bool   `json:"tie,omitempty"`    // its figure equals the chosen one's, which comes earlier in the list
}

// Reset empties the record and keeps its memory.
func (r *Record) Reset() { *r = Record{Candidates: r.Candidates[:0]} }

// Begin empties the record and sets the scheduler that picks and its rule.
func (r *Record) Begin(scheduler, rule string) {
	r.Reset()
	r.Scheduler, r.Rule = scheduler, rule
}

// Beginf is Begin with a rule formatted as by fmt.Sprintf.
func (r *Record) Beginf(scheduler, rule string, args ...any) {
	r.Begin(scheduler, fmt.Sprintf(rule, args...))
}

// Add appends a server that was looked at, with the figure that was compared and, if
// it is not eligible, the reason. The caller may change the returned candidate until
// the next Add.
func (r *Record) Add(s *RealServer, figure string) *Candidate {
	r.Candidates = append(r.Candidates, Candidate{
		Server: s.ID, Addr: s.Addr.String(), Figure: figure, Skip: s.skipReason(),
	})
	return &r.Candidates[len(r.Candidates)-1]
}

// Choose sets the server that was picked, nil if none was.
func (r *Record) Choose(s *RealServer) {
	if s != nil {
		r.Chosen = s.ID
	}
}
