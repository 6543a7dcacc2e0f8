package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// Check is how a director asks each real server of a service whether it serves: with a
// client of its own, to the virtual address and by the server's forwarding method, as its
// packets for others travel. Absent numbers have their defaults.
type Check struct {
	Kind   CheckKind `json:"kind"`
	Path   string    `json:"path,omitempty"`   // of http and https: what to get
	Host   string    `json:"host,omitempty"`   // of http and https: header and TLS name; empty: the virtual address
	Status string    `json:"status,omitempty"` // of http and https: good ones, such as 200-299,401; empty: DefaultStatus
	Send   string    `json:"send,omitempty"`   // of tcp and udp: what to send
	Expect string    `json:"expect,omitempty"` // of tcp and udp: how the answer begins
	// To is the virtual address and port to ask, for a service by mark or on all ports.
	To netip.AddrPort `json:"to,omitzero"`
	// Source is the director's address that asks; the zero Addr leaves that to the director.
	Source netip.Addr `json:"source,omitzero"`

	Interval uint32 `json:"interval_ms,omitempty"` // milliseconds between two probes of a server
	Timeout  uint32 `json:"timeout_ms,omitempty"`  // milliseconds that a probe may take
	Rise     uint8  `json:"rise,omitempty"`        // good probes in a row after which a server is up again
	Fall     uint8  `json:"fall,omitempty"`        // bad probes in a row after which it is down

	// Act is what the director does about a server that is down.
	Act CheckAct `json:"act,omitempty"`
	// AtMost is the share of a service's servers, in percent, that is held at once; of
	// act hold.
	AtMost uint8 `json:"at_most_percent,omitempty"`
}

// CheckKind is what is asked: a connection, a page, a datagram, or nothing.
type CheckKind string

// Kinds of checks.
const (
	CheckTCP   CheckKind = "tcp"
	CheckHTTP  CheckKind = "http"
	CheckHTTPS CheckKind = "https"
	CheckUDP   CheckKind = "udp"
	// CheckPassive asks nothing: it goes by what clients' packets show, see Refusals.
	CheckPassive CheckKind = "passive"
)

// CheckAct is what follows from a check.
type CheckAct string

// Acts of checks. ActHold keeps new connections from a server that is down, whatever its
// weight, which stays as it is.
const (
	ActShow CheckAct = ""
	ActHold CheckAct = "hold"
)

// Defaults of a Check. DefaultAtMost is of ActHold.
const (
	DefaultInterval = 5 * time.Second
	DefaultTimeout  = 2 * time.Second // or the interval, if that is shorter
	DefaultRise     = 2
	DefaultFall     = 3
	DefaultAtMost   = 50
	DefaultStatus   = "200-399"
)

// shortestInterval and longestInterval bound Interval and Timeout, in milliseconds.
const (
	shortestInterval = 10
	longestInterval  = 24 * 3600 * 1000
	shortestPassive  = 1000 // a client repeats its SYN after a second (RFC 6298 section 2)
)

// Full returns the check with its defaults filled in.
func (c Check) Full() Check {
	fill := func(to *uint32, d time.Duration) {
		if *to == 0 {
			*to = uint32(d.Milliseconds())
		}
	}
	fill(&c.Interval, DefaultInterval)
	fill(&c.Timeout, min(DefaultTimeout, time.Duration(c.Interval)*time.Millisecond))
	if c.Rise == 0 {
		c.Rise = DefaultRise
	}
	if c.Fall == 0 {
		c.Fall = DefaultFall
	}
	if c.Act == ActHold && c.AtMost == 0 {
		c.AtMost = DefaultAtMost
	}
	if c.gets() && c.Path == "" {
		c.Path = "/"
	}
	return c
}

// gets reports whether the check gets a page.
func (c Check) gets() bool { return c.Kind == CheckHTTP || c.Kind == CheckHTTPS }

// SameProbe reports whether two checks of a service ask the same, however often and
// whatever follows: a service has at most one of these.
func (c Check) SameProbe(other Check) bool {
	c, other = c.Full(), other.Full()
	return c.Kind == other.Kind && c.Path == other.Path && c.Host == other.Host && c.To == other.To && c.Send == other.Send
}

// Name says what the check asks, which no other check of its service does: "http /health".
func (c Check) Name() string {
	c = c.Full()
	name := string(c.Kind)
	for _, part := range []struct{ word, value string }{{"", c.Path}, {" host", c.Host}, {" send", Escape(c.Send)}} {
		if part.value != "" {
			name += part.word + " " + part.value
		}
	}
	if c.To.IsValid() {
		name += " to " + c.To.String()
	}
	return name
}

// Proto returns the protocol of the probes.
func (c Check) Proto() Proto {
	if c.Kind == CheckUDP {
		return UDP
	}
	return TCP
}

// Target returns the virtual address and port that a check of a service asks.
func (c Check) Target(k Key) netip.AddrPort {
	if c.To.IsValid() {
		return c.To
	}
	return netip.AddrPortFrom(k.Addr, k.Port)
}

// Validate reports the first value that no director can take.
func (c Check) Validate() error {
	switch {
	case !slices.Contains([]CheckKind{CheckTCP, CheckHTTP, CheckHTTPS, CheckUDP, CheckPassive}, c.Kind):
		return wrong("kind", "it is tcp, http, https, udp or passive, not %q", c.Kind)
	case !c.gets() && (c.Path != "" || c.Host != "" || c.Status != ""):
		return wrong("path", "path, host and status are of http and https")
	case c.Kind == CheckPassive && (c.Send != "" || c.Expect != "" || c.To.IsValid() || c.Source.IsValid()):
		return wrong("kind", "a passive check asks nothing")
	case c.Kind == CheckPassive && c.Interval != 0 && c.Interval < shortestPassive:
		return wrong("interval_ms", "a passive check has to wait for clients that repeat: 1 s at least")
	case c.gets() && (c.Send != "" || c.Expect != ""):
		return wrong("send", "send and expect are of tcp and udp")
	case c.Path != "" && (c.Path[0] != '/' || !oneWord(c.Path)):
		return wrong("path", "%q does not begin with / or has a blank or a control character", c.Path)
	case strings.Contains(c.Host, "/") || !oneWord(c.Host):
		return wrong("host", "%q is no name", c.Host)
	case c.Act != ActShow && c.Act != ActHold:
		return wrong("act", "it is hold or absent, not %q", c.Act)
	case c.AtMost > 100:
		return wrong("at_most_percent", "%d%% is more than all", c.AtMost)
	case c.AtMost != 0 && c.Act != ActHold:
		return wrong("at_most_percent", "it is of act hold")
	case c.To.IsValid() && c.To.Port() == 0:
		return wrong("to", "it needs a port")
	}
	if _, err := ParseStatus(c.Status); err != nil {
		return err
	}
	return c.validateTimes()
}

// oneWord reports whether text stays one word in a rules file, which takes each space of
// Unicode for the end of one, and the same text in JSON.
func oneWord(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r)
	})
}

func (c Check) validateTimes() error {
	for _, t := range []struct {
		name string
		ms   uint32
	}{{"interval_ms", c.Interval}, {"timeout_ms", c.Timeout}} {
		if t.ms != 0 && (t.ms < shortestInterval || t.ms > longestInterval) {
			return wrong(t.name, "%d ms is not between 10 ms and a day", t.ms)
		}
	}
	return nil
}

// ValidateFor reports what keeps a check from being one of a service.
func (c Check) ValidateFor(k Key) error {
	if err := c.Validate(); err != nil {
		return err
	}
	if c.Kind == CheckPassive {
		return nil
	}
	target := c.Target(k)
	switch {
	case !target.IsValid() || target.Port() == 0:
		return wrong("to", "a service by mark or on all ports needs the address and port to ask")
	case k.Mark == 0 && target.Addr() != k.Addr:
		return wrong("to", "%s is not the service's address", target.Addr())
	case k.Mark == 0 && k.Port != 0 && target.Port() != k.Port:
		return wrong("to", "%d is not the service's port", target.Port())
	case k.Mark == 0 && k.Proto != c.Proto():
		return wrong("kind", "%s does not ask a service of %s", c.Kind, strings.ToLower(k.Proto.String()))
	case FamilyOf(target.Addr()) != k.Normal().Family:
		return wrong("to", "it is not of the service's family")
	case c.Source.IsValid() && FamilyOf(c.Source) != k.Normal().Family:
		return wrong("source", "it is not of the service's family")
	}
	return nil
}

// ValidateRepeated is ValidateFor for a check that is repeated. Its probes may not take
// longer than the interval: the next one would be late.
func (c Check) ValidateRepeated(k Key) error {
	if err := c.ValidateFor(k); err != nil {
		return err
	}
	if c = c.Full(); c.Timeout > c.Interval {
		return wrong("timeout_ms", "%d ms is longer than the interval of %d ms", c.Timeout, c.Interval)
	}
	return nil
}

// LongestOnce bounds the Timeout of a check that asks once: somebody waits for it.
const LongestOnce = 30 * time.Second

// ValidateOnce is Validate for a check that asks once, whatever the service.
func (c Check) ValidateOnce() error {
	if time.Duration(c.Timeout)*time.Millisecond > LongestOnce {
		return wrong("timeout_ms", "%d ms is longer than asking once may take, %s", c.Timeout, LongestOnce)
	}
	return c.Validate()
}

// StatusRange is a range of HTTP status codes.
type StatusRange struct{ First, Last int }

// ParseStatus reads status codes: numbers and ranges with commas between them. An empty
// text is DefaultStatus.
func ParseStatus(text string) ([]StatusRange, error) {
	if text == "" {
		text = DefaultStatus
	}
	var all []StatusRange
	for part := range strings.SplitSeq(text, ",") {
		first, last, ranged := strings.Cut(part, "-")
		if !ranged {
			last = first
		}
		a, err1 := strconv.Atoi(first)
		b, err2 := strconv.Atoi(last)
		if err1 != nil || err2 != nil || a < 100 || b > 999 || a > b {
			return nil, wrong("status", "%q is not like 200-299,401", text)
		}
		all = append(all, StatusRange{a, b})
	}
	return all, nil
}

// String returns the check in the options of `uvs check add`, without those that are at
// their default.
func (c Check) String() string {
	c = c.Full()
	text := "--" + string(c.Kind)
	if c.gets() {
		text += " " + c.Path
	}
	option := func(name, value string, given bool) {
		if given {
			text += " --" + name + " " + value
		}
	}
	ms := func(n uint32) string { return (time.Duration(n) * time.Millisecond).String() }
	option("host", c.Host, c.Host != "")
	option("status", c.Status, c.Status != "")
	option("send", Escape(c.Send), c.Send != "")
	option("expect", Escape(c.Expect), c.Expect != "")
	option("to", c.To.String(), c.To.IsValid())
	option("source", c.Source.String(), c.Source.IsValid())
	option("interval", ms(c.Interval), c.Interval != uint32(DefaultInterval.Milliseconds()))
	option("timeout", ms(c.Timeout), c.Timeout != Check{Interval: c.Interval}.Full().Timeout)
	option("rise", strconv.Itoa(int(c.Rise)), c.Rise != DefaultRise)
	option("fall", strconv.Itoa(int(c.Fall)), c.Fall != DefaultFall)
	option("act", string(c.Act), c.Act != ActShow)
	option("at-most", fmt.Sprintf("%d%%", c.AtMost), c.Act == ActHold)
	return text
}

// Escape returns text without blanks or control characters, as Unescape reads it: a word
// of a rules file.
func Escape(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if ch := text[i]; ch <= ' ' || ch >= 0x7f || ch == '\\' || ch == '"' || ch == '\'' {
			fmt.Fprintf(&b, `\x%02x`, ch)
		} else {
			b.WriteByte(ch)
		}
	}
	return b.String()
}

// Unescape replaces \n, \r, \t, \\ and \xNN by what they stand for.
func Unescape(text string) (string, error) {
	if !strings.Contains(text, `\`) {
		return text, nil
	}
	out, err := strconv.Unquote(`"` + strings.ReplaceAll(text, `"`, `\"`) + `"`)
	if err != nil {
		return "", wrong("send", `%q has a \ that is not followed by n, r, t, \ or xNN`, text)
	}
	return out, nil
}

// CheckNow says what to ask once: a service, nil for all, by a check, nil for those that
// it has.
type CheckNow struct {
	Service *Key   `json:"service,omitempty"`
	Check   *Check `json:"check,omitempty"`
}

// CheckState is what a check has found about one real server.
type CheckState struct {
	Service Key            `json:"service"`
	Server  netip.AddrPort `json:"server"`
	Method  string         `json:"method"` // of forwarding, as in Server
	Check   Check          `json:"check"`
	State   string         `json:"state"` // up, down, or unknown before the first result
	// Result says in words what the last probes found.
	Result string      `json:"result"`
	VIP    ProbeResult `json:"vip"` // to the virtual address, by the forwarding method
	Own    ProbeResult `json:"own"` // to the server's own address
	// AnswersARP is set if the server answers ARP requests for the virtual address.
	AnswersARP bool  `json:"answers_arp,omitempty"`
	Held       bool  `json:"held,omitempty"`    // it takes no new connections, whatever its weight
	Limited    bool  `json:"limited,omitempty"` // it would be held, but as many are as may be
	Weight     int32 `json:"weight"`            // as configured
	// Since is when the state began, in RFC 3339.
	Since time.Time `json:"since,omitzero"`
}

// ProbeResult is what one probe found.
type ProbeResult struct {
	OK     bool   `json:"ok"`
	Answer string `json:"answer,omitempty"`      // in words: "status 200", "no answer", "refused"
	Micros uint32 `json:"duration_us,omitempty"` // microseconds until the answer
	Probes uint64 `json:"probes,omitempty"`      // so far
	Failed uint64 `json:"failed,omitempty"`      // of them
	// Times are those of all probes so far. A client of the API does not get them.
	Times ProbeTimes `json:"-"`
}
