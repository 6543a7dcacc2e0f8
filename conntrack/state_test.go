package conntrack

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// recorded is one case of testdata/tcpstate.jsonl, recorded from Linux 6.1 IPVS:
// the state, the time left and the server's counts after every segment.
type recorded struct {
	Name     string         `json:"name"`
	Mode     string         `json:"mode"`
	Proto    string         `json:"proto"`
	Sysctl   map[string]int `json:"sysctl"`
	Timeouts string         `json:"timeouts"` // of ipvsadm --set, if they were changed before
	Rows     []struct {
		Step   string `json:"step"`
		State  string `json:"state"`
		Expire string `json:"expire"`
		Active *int   `json:"active"`
		Inact  *int   `json:"inact"`
	} `json:"rows"`
}

func recordedCases(t *testing.T) (cases []recorded) {
	f, err := os.Open("testdata/tcpstate.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c recorded
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	return cases
}

// director does what a forwarder does with the table, as far as states go.
type director struct {
	table            *Table
	r                *Reader
	rules            *Rules
	now              Tick
	client           Conn
	active, inactive int32
	serverGone       bool
	nodest           bool // expire_nodest_conn
}

func newDirector(t *testing.T, c recorded) *director {
	d := &director{rules: DefaultRules(), now: 1}
	d.table = newTable(t, Config{Capacity: 10, Gone: d.gone})
	d.r = d.table.Reader()
	d.step("ipvs --set " + cmp.Or(c.Timeouts, "900 120 300"))
	d.rules.SloppyTCP = c.Sysctl["sloppy_tcp"] != 0
	d.rules.SecureTCP = c.Sysctl["secure_tcp"] != 0
	d.nodest = c.Sysctl["expire_nodest_conn"] != 0
	method := map[string]sched.Method{"NAT": sched.Masq, "DR": sched.Route, "TUN": sched.Tunnel}[c.Mode]
	proto := map[string]uint8{"t": frame.ProtoTCP, "u": frame.ProtoUDP}[c.Proto]
	d.client = conn(proto, "172.16.0.9:20001", "10.2.0.1:80", "10.1.0.5:8080", method)
	return d
}

func (d *director) gone(c *Conn) {
	if c.Has(Inactive) {
		d.inactive--
	} else {
		d.active--
	}
}

// packet does what a forwarder does with a packet that has the given TCP flags.
func (d *director) packet(dir Direction, flags uint8) {
	f := d.client.RequestFlow()
	if dir == Reply {
		f = d.client.ReplyFlow()
	}
	ev, opens := Packet, true
	if f.Proto() == frame.ProtoTCP {
		ev, opens = TCPEvent(flags), d.rules.OpensTCP(flags)
	}
	d.r.Enter()
	defer d.r.Exit()
	c, isReply := d.r.Lookup(&f)
	switch {
	case c == nil && (dir == Reply || !opens):
		return
	case c == nil:
		var inserted bool
		if c, inserted = d.r.Insert(&d.client, d.now); inserted {
			d.inactive++
		}
	case d.serverGone && !isReply:
		return
	}
	a, i := d.table.Advance(c, ev, dir, d.now, d.rules).Counts()
	d.active, d.inactive = d.active+a, d.inactive+i
}

// step does one step of a recording.
func (d *director) step(s string) {
	switch word, rest, _ := strings.Cut(s, " "); {
	case strings.HasPrefix(s, "sleep"):
		n, _ := strconv.Atoi(s[5:])
		for range n * TicksPerSecond {
			d.tick()
		}
	case word == "ipvs" && strings.HasPrefix(rest, "-d"):
		if d.serverGone = true; d.nodest {
			d.r.Range(func(c *Conn) bool { d.r.Remove(c, d.now); return true })
		}
	case word == "ipvs" && strings.HasPrefix(rest, "-a"):
		d.serverGone = false
	case word == "ipvs":
		var tcp, fin, udp uint32
		fmt.Sscanf(rest, "--set %d %d %d", &tcp, &fin, &udp)
		d.rules.Set(tcp, fin, udp)
	case s[0] == 's':
		d.packet(Reply, flagBits(s))
	default:
		d.packet(Request, flagBits(s))
	}
}

func (d *director) tick() {
	d.now++
	for !d.table.Sweep(d.now, 10) {
	}
}

func flagBits(step string) (bits uint8) {
	_, letters, _ := strings.Cut(step, ":")
	for _, l := range letters {
		bits |= map[rune]uint8{'F': frame.FlagFIN, 'S': frame.FlagSYN, 'R': frame.FlagRST, 'P': frame.FlagPSH,
			'A': frame.FlagACK, 'U': frame.FlagURG}[l]
	}
	return bits
}

func TestRecordedSegmentsGiveTheRecordedStates(t *testing.T) {
	for n, c := range recordedCases(t) {
		t.Run(fmt.Sprintf("%d %s %s %v", n, c.Name, c.Mode, c.Sysctl), func(t *testing.T) {
			d := newDirector(t, c)
			for i, row := range c.Rows {
				d.step(row.Step)
				d.tick() // the recording looked some 0.1 s after each step
				at := fmt.Sprintf("step %d, %s", i+1, row.Step)
				state, expire := d.look()
				if state != row.State {
					t.Errorf("%s: state %q, want %q", at, state, row.State)
				}
				if !withinSecond(expire, row.Expire) {
					t.Errorf("%s: expires in %q, want %q", at, expire, row.Expire)
				}
				if row.Active != nil && (int(d.active) != *row.Active || int(d.inactive) != *row.Inact) {
					t.Errorf("%s: counts %d, %d, want %d, %d", at, d.active, d.inactive, *row.Active, *row.Inact)
				}
			}
		})
	}
}

// look returns the connection as in a listing, empty if there is none.
func (d *director) look() (state, expire string) {
	d.r.Range(func(c *Conn) bool {
		left := c.Expires(d.now)
		state, expire = c.StateName(), fmt.Sprintf("%02d:%02d", int(left.Minutes()), int(left.Seconds())%60)
		return false
	})
	return state, expire
}

// withinSecond reports whether two timeouts differ by at most a second: how long the recording
// took between its steps is not known exactly.
func withinSecond(a, b string) bool {
	if a == "" || b == "" {
		return a == b
	}
	seconds := func(s string) int {
		m, _ := strconv.Atoi(s[:2])
		sec, _ := strconv.Atoi(s[3:])
		return m*60 + sec
	}
	diff := seconds(a) - seconds(b)
	return diff >= -1 && diff <= 1
}

func TestExpiresShowsWhatTheKernelShows(t *testing.T) {
	c := Conn{seen: 100, timeout: uint32(Seconds(900))}
	for _, tt := range []struct {
		now  Tick
		want int
	}{{100, 899}, {109, 899}, {110, 898}, {9099, 0}, {9100, 0}, {9200, 0}} {
		if got := int(c.Expires(tt.now) / time.Second); got != tt.want {
			t.Errorf("at tick %d: %d s left, want %d", tt.now, got, tt.want)
		}
	}
}

// A sign leaves the count of packets alone, and a packet from the server is one.
func TestFirstSign(t *testing.T) {
	r := newTable(t, Config{Capacity: 100}).Reader()
	r.Enter()
	defer r.Exit()
	insert := func(i int) *Conn {
		c := nthConn(i)
		kept, _ := r.Insert(&c, 1)
		r.t.Advance(kept, tcpSyn, Request, 1, DefaultRules())
		return kept
	}
	silent, answered := insert(0), insert(1)
	r.t.Advance(answered, tcpSyn, Reply, 1, DefaultRules())
	if !silent.FirstSign() || silent.FirstSign() || answered.FirstSign() {
		t.Error("a sign is not the first once, or is so after an answer")
	}
	if silent.Packets() != 1 || silent.CountPacket() != 2 || answered.Packets() != 1 {
		t.Errorf("%d and %d packets", silent.Packets(), answered.Packets())
	}
}
