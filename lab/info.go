package lab

import (
	"slices"
	"time"
)

// Info describes a running lab.
type Info struct {
	Name     string          `json:"name"`
	PID      int             `json:"pid"` // of the supervisor, as its starter sees it
	Started  time.Time       `json:"started"`
	Session  Session         `json:"session"` // of its starter
	Topology Topology        `json:"topology"`
	Services []ServiceStatus `json:"services"`
	Links    []LinkStatus    `json:"links"`
	// Unfinished are topologies from which [Lab.Apply] should have made the lab what it is to be,
	// and failed: from each of them something may be left to do.
	Unfinished []Topology `json:"unfinished,omitempty"`
}

// Plan returns what [Lab.Apply] would do to make the lab one of another topology, as
// [Topology.Plan] does, and what was left to do when that failed.
func (in *Info) Plan(to *Topology) []Change {
	return changes(planFrom(&in.Topology, to, in.Unfinished))
}

// ServiceStatus is a service of a node and its process.
type ServiceStatus struct {
	Node    string  `json:"node"`
	Name    string  `json:"name"`
	Command Command `json:"command"`
	Running bool    `json:"running"`
	PID     int     `json:"pid,omitempty"` // inside the lab
}

func (s *supervisor) info() (*Info, error) {
	s.state.RLock()
	defer s.state.RUnlock()
	in := &Info{Name: s.Name, PID: s.PID, Started: s.started, Session: s.Session, Topology: s.Topology, Unfinished: s.unfinished}
	in.Topology.Nodes = slices.Clone(s.Topology.Nodes) // it is read after this, without a lock
	for _, r := range s.services {
		r.mu.Lock()
		st := ServiceStatus{Node: r.host.Name, Name: r.Name, Command: r.Command, Running: r.alive()}
		if st.Running {
			st.PID = r.proc.pid
		}
		r.mu.Unlock()
		in.Services = append(in.Services, st)
	}
	var err error
	s.links.mu.Lock()
	defer s.links.mu.Unlock()
	in.Links, err = s.linkStatus(s.Topology.allLegs()...)
	return in, err
}
