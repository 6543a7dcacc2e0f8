package bench

import (
	"cmp"
	"io"
	"time"

	"uvs/bench/load"
	"uvs/bench/report"
	"uvs/lab"
	"uvs/lab/wire"
)

// Options say what a run measures.
type Options struct {
	Targets     []load.Target
	Loads       []load.Load
	Goals       []Goal          // of searches
	Kinds       []load.Kind     // of TCP trials
	Conns       int             // TCP connections at a time
	Fairness    FairnessOptions // of fairness
	Disrupt     DisruptOptions
	Recovery    RecoveryOptions // of recovery
	Connections ConnOptions     // of connections
	Table       int             // connections a director has room for; 0: its default
	Rounds      int             // each target is measured once in a round
	Warm        time.Duration   // before each window
	Window      time.Duration   // of a trial
	Servers     int             // real servers, 0 is one
	Locals      int             // local addresses of a FULLNAT service, 0 is 20
	Wire        wire.Impairment // of the client's links; the zero value leaves them to the kernel
	Unpinned    bool            // every process runs on any CPU
	Once        bool            // no target is measured twice: there is no A/A run
	Baseline    string          // target that others are compared with, empty: the null forwarder or another balancer
	Limits      []report.Limit  // what a scenario demands
	Command     []string        // for the report: what was typed after "uvs"
	Program     string          // the uvs binary that runs in the nodes, empty is this one

	Log      io.Writer    // what forwarders print, nil: nothing
	Progress func(string) // told what goes on, nil: nobody
}

func (o *Options) workers() int {
	n := 1
	for _, t := range o.Targets {
		n = max(n, t.Workers)
	}
	return n
}

// locals is the number of local addresses of a FULLNAT service.
func (o *Options) locals() int { return cmp.Or(o.Locals, localAddresses) }

func (o *Options) place() report.Placement {
	if o.Unpinned {
		return report.Placement{Tester: -1, Forwarder: -1}
	}
	return place(o.workers())
}

// impaired returns a lab's topology with the client's links as a run was told to have them.
func (o *Options) impaired(t lab.Topology) lab.Topology {
	if o.Wire == (wire.Impairment{}) {
		return t
	}
	t.Wires = true
	client := t.Node(load.ClientNode)
	for i := range client.Interfaces {
		client.Interfaces[i].Impair = o.Wire
	}
	return t
}

func (o *Options) say(s string) {
	if o.Progress != nil {
		o.Progress(s)
	}
}
