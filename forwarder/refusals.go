package forwarder

import (
	"time"

	"uvs/forwarder/frame"
)

// refuses reports whether a segment is the reset that answers a SYN: it has no sequence
// number (RFC 9293 section 3.10.7.1).
func refuses(f *frame.Frame) bool {
	if f.Info.Proto != frame.ProtoTCP || f.Info.TCPFlags&frame.FlagRST == 0 {
		return false
	}
	seq, _ := f.TCPSeq()
	return seq == 0
}

// refusalsEvery is how often servers that refuse connections are named, and refusalLines how
// many of them at a time.
const (
	refusalsEvery = time.Minute
	refusalLines  = 16
)

// refusalLog names the servers that refuse connections. It belongs to one goroutine.
type refusalLog struct{ next time.Time }

// watchServers has the next hops to silent servers probed, and names those that refuse
// connections. It is called every EstimatorStep.
func (fw *Forwarder) watchServers(now time.Time) {
	fw.probeSilent()
	fw.refusals.tell(fw, now)
}

// tell names the servers that have refused connections since it last did.
func (l *refusalLog) tell(fw *Forwarder, now time.Time) {
	if now.Before(l.next) {
		return
	}
	all := fw.NewRefusals()
	if len(all) == 0 {
		return
	}
	l.next = now.Add(refusalsEvery)
	for i, r := range all {
		if i == refusalLines {
			fw.log.Warn("more servers refuse connections, or do not answer", "event", "servers-refuse", "servers", len(all)-i)
			return
		}
		fw.log.Warn("a server refuses connections, or does not answer", "event", "server-refuses", "service", r.Key.Name(),
			"server", r.Server.String(), "no_reply", r.More.NoReply, "resets", r.More.Resets, "unreachable", r.More.Unreachable)
	}
}
