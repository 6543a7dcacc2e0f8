package report

import "slices"

// Definition says how a number was made.
type Definition struct {
	Term, Text string
}

// common are the definitions that every report has.
var common = []Definition{
	{"order", "All targets stand ready at the same time and take turns, forwards and then backwards (ABBA), so that a machine that slows down meets them all alike."},
	{"median, 95 %", "The median of the trials; the interval is the bootstrap's (2000 draws, seeded), percentile method."},
	{"A/A, smallest claim", "One target is measured twice, as two processes on lanes of their own. How far the 95 % interval of its ratio to itself reaches from 1 is the smallest difference that this run can claim of a measure. With fewer than three rounds nothing can be claimed."},
	{"better by", "The median over the rounds of the ratio to the baseline in the same round, turned so that more is better. p is of Mann and Whitney's rank test."},
	{"verdict", "faster or slower: p < 0.05, the interval does not hold 1, and the difference is larger than the smallest claim. equivalent: the whole interval is within 3 %, of four rounds or more. inconclusive: all else. INVALID: a frame was wrong, twice there or not sent at all, whatever the speed."},
	{"noise grade", "A thread that only wants to run is watched for two seconds before the run: A up to 0.2 % of the time lost, B 1 %, C 4 %, D more, or longer gaps and slower work in the same steps."},
}

// glossary has the definitions of each measure.
var glossary = map[string][]Definition{
	"quick": {
		{"received pps", "Frames that a counter at the receiving end saw in the window, divided by its length."},
		{"loss", "1 − received / intended, from the first frame of a trial to the last. A frame that the generator could not send is lost too."},
		{"CPU ns/packet", "User and system time of the forwarder's process over the window, by its CPU clock, divided by the frames that arrived. The kernel delivers a frame to the other end of a veth pair within the sender's system call, so that is in it, for all targets alike."},
		{"to null", "The same divided by that of the null forwarder of the same kind of port in the same round. It receives and sends and changes MAC addresses, and nothing else."},
		{"gate", "Before anything is measured: 20,000 frames a second of which every one is checked byte by byte, for order and for duplicates, and for flows that come to two servers. A target that loses more than 1 % of them, or of which more than one in a thousand is overtaken, is INVALID, too. During trials one frame in 2048 is."},
		{"disturbed", "The generator's CPU was taken away for more than 2 ms at once, or the forwarder waited for its own for more than 5 % of the window."},
	},
	"tcp": {
		{"connect", "Connections a second, each with one request of 64 and one answer of 128 bytes, closed by the server; latency from the call of connect to the last byte."},
		{"request, pingpong", "The same exchange again and again on open connections; pingpong on a single one."},
		{"bulk", "What up to four connections download, as large as segmentation offload makes it. Targets called plain have checksum and segmentation offload off on their links."},
		{"CPU each", "CPU time of the forwarder's process divided by connections, requests or bytes. The kernel's forwarding has no process."},
		{"failed", "Refused, reset, silent for two seconds, or wrong bytes."},
	},
	"fairness": {
		{"Jain", "Jain's index of connections by weight: 1 if every server got its share, 1/n if one got all. by chance: what it would be if keys met servers at random, for schedulers that hash."},
		{"peak", "The furthest that any server ever was from its share, in connections, while they were opened one by one; smoothest: the same of the best order there is."},
		{"as simulated", "The share of connections that went where the scheduler's own code sends them without any packet."},
	},
	"disrupt": {
		{"broken", "Connections held open that were reset, fell silent or came to another server: on servers that stayed, and on the one that was changed."},
		{"remapped", "Clients that are sent to another server than before, beside the fewest there can be."},
		{"blocked", "The longest wait for an answer on servers that stayed, beside the longest before the event."},
	},
	"recovery": {
		{"last loss", "From the end of the overload or stall until the last frame that was lost was to leave (RFC 2544, section 26.5)."},
		{"latency back", "From its end until 50 ms begin in which the median latency is within what 99 of 100 frames had before, and nothing is lost."},
	},
	"open":    {{"opened/s", "Frames of flows never seen before that arrived, each of which opens a connection; CPU time as for packets."}},
	"sustain": {{"last/first", "Connections a second in the last minute, divided by those in the first, while clients open a connection, make one request on it and open the next, without a pause. A connection that is refused, reset or silent for two seconds has failed."}},
	"hold":    {{"bytes each", "Resident memory of the director's process with so many connections less that with none, divided by their number. Each was asked for with one more frame."}},
	"search": {
		{"goal", "A load meets a goal when at least half of its trials lose no more than the goal allows; the search halves the distance between a load that does and one that does not until they are within 2 %."},
		{"NDR, PDR", "The highest load of which nothing, or at most 0.5 %, is lost."},
		{"MRR", "Frames that arrive when as many are offered as the generator can send."},
		{"latency", "One way, from the time at which a frame was planned to leave, so that a generator that is held up does not hide it. The null forwarder's is the bias of the path; it is shown, not subtracted."},
	},
}

// definitions are those of what the report has.
func (r *Run) definitions() []Definition {
	all := slices.Clone(common)
	for i := range r.Parts {
		all = append(all, glossary[r.Parts[i].Measure]...)
	}
	return all
}
