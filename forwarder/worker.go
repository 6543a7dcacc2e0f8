package forwarder

import (
	"errors"
	"math/rand/v2"
	"net"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/cookie"
	"uvs/forwarder/frame"
	"uvs/forwarder/neigh"
	"uvs/forwarder/plan"
	"uvs/forwarder/port"
	"uvs/forwarder/service"
	"uvs/forwarder/sysctl"
	"uvs/forwarder/tracefilter"
)

// batchSize is how many frames a worker receives from its port at once. 256 gains less
// than 100 ns a frame over 64, and costs latency (measured on veth).
const batchSize = 64

// worker owns one receive queue: it takes a batch, forwards every frame of it
// and sends the results before it takes the next. It shares nothing but the
// connection table's shards and atomics.
type worker struct {
	fw      *Forwarder
	name    string // of the interface, in messages
	port    port.Port
	account *account
	parser  frame.Parser
	reader  *conntrack.Reader
	frags   *frame.Reassembler

	// The batch, stage by stage.
	in      [batchSize]frame.Frame
	from    [batchSize]*linkState // the interface each arrived on; nil: none of the director's
	verdict [batchSize]frame.Verdict
	flows   [batchSize]*frame.Flow // of frames to look up, nil for others
	found   [batchSize]conntrack.Found

	// What outlives a batch.
	hops      hopCache     // next hops to clients
	admitted  admitCache   // sources that were judged
	routes    serverRoutes // next hops and modes to real servers
	icmpLimit bucket
	id        uint32 // identification of packets made here
	scratch   cookie.Scratch
	asked     tracefilter.Packet

	// What a batch produces, sent and published at its end.
	tx       txQueue
	arena    arena
	counters batchCounters

	// The packet at hand.
	link        *linkState     // on which it arrived
	rec         *record        // of its path through the stages; nil: it is not traced
	single      conntrack.Conn // its connection, if the service is a one-packet one
	pieces      [4]frame.Frame // that are being built from it, one a level
	depth       int            // how many levels are in use
	answerFrame frame.Frame    // the answer to it
	clientFrame frame.Frame    // what the SYN proxy sends to its server in the client's name
	answerHop   neigh.Hop      // the answer's next hop, where no route says it
	unsampled   uint64         // frames since the last sample
	answerLen   int            // bytes of the answer made last, from its IP header
	quoted      frame.Flow     // of the packet that it quotes, in reverse, if it is an ICMP error
	alsoCounted uint64         // frames that count for its verdict, or notYet
	shifted     bool           // it has shifted the sequence numbers of an FTP control connection

	shake conntrack.Handshake // of its client with the SYN proxy, while it is scheduled

	syncing syncing      // entries for the master
	unbound unboundModes // of connections that have no server here

	// Constant for a batch.
	sync     *syncMaster // nil: none runs
	conf     *plan.View
	services *service.Snapshot
	rules    *conntrack.Rules
	sysctl   *sysctl.Values
	links    *linkSet
	clock    time.Duration // since the director started
	now      conntrack.Tick
}

// run forwards until the port is closed. A port that cannot receive is tried again, and
// told of once.
func (w *worker) run() {
	defer w.close()
	const shortest, longest = 10 * time.Millisecond, time.Second
	pause := shortest
	for {
		n, err := w.port.Recv(w.in[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if pause == shortest {
				w.fw.log.Error("receive; trying again", "link", w.name, "err", err)
			}
			time.Sleep(pause)
			pause = min(2*pause, longest)
			continue
		}
		pause = shortest
		w.batch(w.in[:n])
	}
}

// batch is the path of packets, a stage a line.
func (w *worker) batch(fs []frame.Frame) {
	w.begin()
	w.counters.received = uint64(len(fs))
	w.parse(fs)
	w.lookup(fs)
	traced := w.fw.active.Load() != nil
	for i := range fs {
		if w.link = w.from[i]; w.link == nil {
			w.count(frame.Pass)
			continue
		}
		var v frame.Verdict
		if traced {
			v = w.trace(&fs[i], w.verdict[i], w.found[i])
		} else {
			v = w.forward(&fs[i], w.verdict[i], w.found[i])
		}
		w.count(v)
		if v.IsDrop() {
			w.fw.example(&fs[i], w.link.Name, v, w.clock)
		}
		if v == frame.Forward && !w.link.busy.Load() && fs[i].Info.Proto == frame.ProtoTCP {
			w.fw.markBusy(w.link)
		}
	}
	w.end()
}

// notYet in alsoCounted is for a frame whose verdict comes with others'.
const notYet = ^uint64(0)

// count counts the frame at hand, with those that have waited for it.
func (w *worker) count(v frame.Verdict) {
	w.counters.add(v, 1+w.alsoCounted)
	w.alsoCounted = 0
}

// begin loads what is constant for a batch: the clock, the configuration, the
// interfaces.
func (w *worker) begin() {
	w.clock = time.Since(w.fw.started)
	w.now = tick(w.clock)
	w.fw.clock.set(w.clock)
	w.conf = w.fw.view.Load()
	w.services = w.fw.Load()
	w.rules = w.fw.rules.Load()
	w.sysctl = w.fw.sysctl.Load()
	if l := w.fw.links.Load(); l != w.links {
		w.links = l
		w.tx.forget(l)
	}
	if m := w.fw.sync.master.Load(); m != w.sync {
		w.follow(m)
	}
	w.reader.Enter()
}

// end sends what the batch produced and publishes its counters.
func (w *worker) end() {
	w.tx.flush()
	took := time.Since(w.fw.started) - w.clock // some 30 ns a batch
	if w.unsampled += w.counters.received; w.unsampled >= sampleEvery {
		w.sample(took)
	}
	w.countRefused()
	w.arena.reset()
	w.reader.Exit()
	w.expireFragments()
	w.account.note(w.counters.received, took)
	w.counters.publish(w.fw, w.account, w.frags.Waiting())
	if w.sync != nil {
		w.syncing.ring.publish()
	}
}

// sampleEvery is of how many frames one batch is told to Config.Sampled.
const sampleEvery = 1024

// sample tells how long the batch took. The Reader must have entered.
func (w *worker) sample(took time.Duration) {
	w.unsampled = 0
	if w.fw.conf.Sampled == nil {
		return
	}
	for i := int(w.counters.received) - 1; i >= 0; i-- {
		if c := w.found[i].Conn; c != nil {
			w.fw.conf.Sampled(c.Method(), took)
			return
		}
	}
}

// countRefused moves the frames that the kernel refused from those that were sent on.
func (w *worker) countRefused() {
	if w.tx.lost == (lostFrames{}) {
		return
	}
	w.counters.verdicts[frame.Forward] -= w.tx.lost.received
	w.counters.verdicts[frame.DropSend] += w.tx.lost.received
	w.counters.made += w.tx.lost.made
	w.tx.lost = lostFrames{}
}

// expireFragments gives up datagrams whose fragments did not all come. A worker
// without traffic keeps its few until it has some again.
func (w *worker) expireFragments() {
	if w.frags.Len() > 0 {
		w.frags.Expire(w.clock)
	}
	w.counters.add(frame.DropFragmentTimeout, w.frags.Expired)
	w.counters.add(frame.DropFragmentMemory, w.frags.Evicted)
	w.frags.Expired, w.frags.Evicted = 0, 0
}

// parse finds the headers of all frames and records the flows to look up.
func (w *worker) parse(fs []frame.Frame) {
	for i := range fs {
		f := &fs[i]
		w.flows[i] = nil
		if w.from[i] = w.arrived(f); w.from[i] == nil {
			continue
		}
		f.Counts = 1
		v := w.parser.Parse(f)
		if v == frame.Continue && !toThisHost(f, w.from[i]) {
			v = frame.Pass
		}
		w.verdict[i] = v
		if v == frame.Continue && f.Info.HasPorts {
			w.flows[i] = &f.Flow
		}
	}
}

func (w *worker) lookup(fs []frame.Frame) {
	w.reader.LookupBatch(w.flows[:len(fs)], w.found[:len(fs)])
}

// arrived returns the interface on which a frame arrived, nil if the director does not
// work on it: the filters of shared ports may be coarse, or lag behind.
func (w *worker) arrived(f *frame.Frame) *linkState {
	l := w.links.byIndex(f.Ingress)
	if l == nil || !l.used {
		return nil
	}
	return l
}

// toThisHost reports whether the frame's Ethernet destination is the interface: a bridge
// floods frames for others to us as well. Of multicast and broadcast frames only ARP
// and neighbour discovery are handled; IPVS leaves the others alone too (ip_vs_core.c,
// ip_vs_in: pkt_type).
func toThisHost(f *frame.Frame, l *linkState) bool {
	if l.Loopback || !l.Ethernet {
		return true // what was redirected from the host has the MAC address of its next hop
	}
	dst := f.Ethernet()[:6]
	if dst[0]&1 != 0 {
		return f.Info.EtherType == frame.EtherARP || f.Info.Proto == frame.ProtoICMPv6
	}
	return [6]byte(dst) == l.MAC
}

// newWorker returns a worker for a receive queue of an interface, or of all with
// the zero Link.
func (fw *Forwarder) newWorker(l neigh.Link, queue int, p port.Port) *worker {
	return &worker{
		fw:      fw,
		name:    linkName(l),
		port:    p,
		account: fw.accounts.open(linkName(l), queue, p),
		reader:  fw.conns.Reader(),
		frags:   frame.NewReassembler(frame.FragmentMemory),
		tx:      fw.newTxQueue(l, p),
		id:      rand.Uint32(),
	}
}

// newTxQueue returns the queue of a worker. What one for the loopback interface sends
// there uses another port than it receives on.
func (fw *Forwarder) newTxQueue(l neigh.Link, p port.Port) txQueue {
	if l.Loopback {
		return txQueue{driver: fw.conf.Driver, own: -1}
	}
	return txQueue{driver: fw.conf.Driver, own: l.Index, port: p}
}

// close gives up the fragments that wait, and releases what the worker held.
func (w *worker) close() {
	w.frags.Clear()
	w.expireFragments()
	w.counters.publish(w.fw, w.account, 0)
	w.tx.close()
	w.follow(nil)
	w.reader.Close()
}
