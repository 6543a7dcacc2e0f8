package sim

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"uvs/sched"
)

// Line is a line of a recording: what became of a connection to a service, or of the
// service. A recording is JSON, one line after the other, by time; the first is Begin.
type Line struct {
	At float64 `json:"at"` // seconds since the beginning
	Do What    `json:"do"`

	// Of New, Template and Refused. Virtual is what the client asked for, whatever the service is on.
	Protocol uint8          `json:"protocol,omitempty"`
	Client   netip.AddrPort `json:"client,omitzero"`
	Virtual  netip.AddrPort `json:"virtual,omitzero"`

	// Conn is the number of a connection or template until it is Gone. 0: it is gone at
	// once. With is the template or connection whose server it had to take, 0: none.
	Conn uint32 `json:"conn,omitempty"`
	With uint32 `json:"with,omitempty"`

	Server    netip.AddrPort `json:"server,omitzero"`      // the one it has
	WasActive bool           `json:"was_active,omitempty"` // what a connection that is Gone counted as

	Service *Recorded `json:"service,omitempty"`
	Lost    uint64    `json:"lost,omitempty"`
}

// What says what a Line is about.
type What string

// New, Refused, Active, Inactive and Gone are about a connection: it was given a server
// and counts as inactive, no server would take it, it counts as active or inactive from
// now on, it ended. Template is a template that was given a server, until TemplateGone.
// Begin and Servers have the service as it is from now on. Lost says how many lines are missing
// here, because they came faster than they could be written.
const (
	Begin    What = "begin"
	Servers  What = "servers"
	New      What = "new"
	Refused  What = "refused"
	Active   What = "active"
	Inactive What = "inactive"
	Gone     What = "gone"
	Lost     What = "lost"

	Template     What = "template"
	TemplateGone What = "template-gone"
)

// Recorded is a service at a moment of a recording. Its servers are in the order of
// addition.
type Recorded struct {
	Name      string           `json:"name"` // as in "tcp 10.0.0.100:80"
	Scheduler string           `json:"scheduler"`
	Flags     sched.Flags      `json:"flags,omitempty"`
	Servers   []RecordedServer `json:"servers"`
}

// RecordedServer is a real server at a moment of a recording. Its counts are of interest
// at the beginning only: later ones follow from the lines.
type RecordedServer struct {
	Address  netip.AddrPort `json:"address"`
	Weight   int32          `json:"weight"`
	Upper    uint32         `json:"upper,omitempty"`
	Lower    uint32         `json:"lower,omitempty"`
	Active   int32          `json:"active,omitempty"`
	Inactive int32          `json:"inactive,omitempty"`
}

// longestLine is more than the line of a service with 10,000 servers has.
const longestLine = 16 << 20

// ReadRecording reads a recording. An error says which line is wrong.
func ReadRecording(r io.Reader) ([]Line, error) {
	s := bufio.NewScanner(r)
	s.Buffer(nil, longestLine)
	var all []Line
	for s.Scan() {
		var l Line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(all)+1, err)
		}
		if err := l.follows(all); err != nil {
			return nil, fmt.Errorf("line %d: %w", len(all)+1, err)
		}
		all = append(all, l)
	}
	switch err := s.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d is longer than %d bytes", len(all)+1, longestLine)
	case err != nil:
		return nil, err
	case len(all) == 0:
		return nil, errors.New("the recording is empty")
	}
	return all, nil
}

// follows says what is wrong with a line after others, if anything is.
func (l *Line) follows(before []Line) error {
	n := len(before)
	switch {
	case (n == 0) != (l.Do == Begin):
		return fmt.Errorf("%q: a recording has one %q, in its first line", l.Do, Begin)
	case n > 0 && l.At < before[n-1].At, !(l.At >= 0):
		return fmt.Errorf("at %g: earlier than the line before", l.At)
	}
	switch l.Do {
	case Begin, Servers:
		return l.checkService()
	case New, Template, Refused:
		if !l.Client.IsValid() || !l.Virtual.IsValid() || l.Client.Addr().Is4() != l.Virtual.Addr().Is4() {
			return errors.New("client and virtual are addresses with ports, of one family")
		}
	case Active, Inactive, Gone, TemplateGone, Lost:
	default:
		return fmt.Errorf("do %q is not known", l.Do)
	}
	if l.Do != Refused && l.Do != Lost && l.Do != TemplateGone && !l.Server.IsValid() {
		return errors.New("server is an address with a port")
	}
	return nil
}

func (l *Line) checkService() error {
	if l.Service == nil {
		return fmt.Errorf("%q has a service", l.Do)
	}
	seen := map[netip.AddrPort]bool{}
	for _, s := range l.Service.Servers {
		if !s.Address.IsValid() || seen[s.Address] {
			return fmt.Errorf("server %v: an address with a port, once", s.Address)
		}
		seen[s.Address] = true
		if err := (&Server{Weight: s.Weight, Upper: s.Upper, Lower: s.Lower}).check(); err != nil {
			return fmt.Errorf("server %v: %w", s.Address, err)
		}
	}
	if len(seen) > maxServers {
		return fmt.Errorf("%d servers, at most %d", len(seen), maxServers)
	}
	return known(l.Service.Scheduler)
}
