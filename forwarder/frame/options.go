package frame

import "encoding/binary"

// IPv4 option types (RFC 791 section 3.1, RFC 2113, the CIPSO draft of 1992).
const (
	optEnd         = 0
	optNop         = 1
	optRecordRoute = 7
	optTimestamp   = 68
	optLooseRoute  = 131
	optCIPSO       = 134
	optStrictRoute = 137
	optRouterAlert = 148
)

// Options are the options of an IPv4 header that matter to a router.
type Options struct {
	Bad    int  // offset in the header of the first invalid byte, 0 if all are valid
	Route  int  // offset of a source route, 0 if there is none
	Strict bool // the source route is a strict one
	Done   bool // the packet has passed all of its hops

	record, timestamps int  // offsets of a record route and of timestamps, 0 if there are none
	label              bool // a CIPSO label was there
}

// Records reports whether routers add entries to the options.
func (o *Options) Records() bool { return o.record != 0 || o.timestamps != 0 }

// Options validates the options of an IPv4 packet as Linux does (ip_options.c,
// ip_options_compile), and zeroes what follows the end of options. A CIPSO label is
// invalid: no domain of interpretation is configured.
func (f *Frame) Options() Options {
	header := f.L3()[:f.IPHeaderLen()]
	var o Options
	for at := 20; at < len(header) && o.Bad == 0; {
		switch header[at] {
		case optEnd:
			clearRest(header, at)
			return o
		case optNop:
			at++
			continue
		}
		left := header[at:]
		if len(left) < 2 || left[1] < 2 || int(left[1]) > len(left) {
			o.Bad = at
			return o
		}
		n := int(left[1])
		if bad := o.checkOption(left[:n], at); bad >= 0 {
			o.Bad = at + bad
		}
		at += n
	}
	return o
}

// clearRest zeroes the options from an offset on.
func clearRest(header []byte, at int) {
	var changed byte
	for i := at; i < len(header); i++ {
		changed |= header[i]
		header[i] = 0
	}
	if changed != 0 {
		SumHeader4(header)
	}
}

// checkOption validates one option, at an offset in the header. It returns the offset in
// the option of the first invalid byte, -1 if it is valid.
func (o *Options) checkOption(b []byte, at int) int {
	switch b[0] {
	case optLooseRoute, optStrictRoute:
		if bad := checkPointer(b, 3, 4); bad >= 0 {
			return bad
		}
		if o.Route != 0 {
			return 0
		}
		o.Route, o.Strict, o.Done = at, b[0] == optStrictRoute, int(b[2]) > len(b)
	case optRecordRoute:
		if o.record != 0 {
			return 0
		}
		o.record = at
		return checkRecordRoute(b)
	case optTimestamp:
		if o.timestamps != 0 {
			return 0
		}
		o.timestamps = at
		return checkTimestamps(b)
	case optRouterAlert:
		if len(b) < 4 {
			return 1
		}
	case optCIPSO:
		return o.checkCIPSO(b)
	}
	return -1
}

// checkPointer validates an option with a pointer in its third byte against its minimum
// length and the pointer's minimum value.
func checkPointer(b []byte, length int, least byte) int {
	switch {
	case len(b) < length:
		return 1
	case b[2] < least:
		return 2
	}
	return -1
}

func checkRecordRoute(b []byte) int {
	if bad := checkPointer(b, 3, 4); bad >= 0 {
		return bad
	}
	return checkRoom(b, 4)
}

// checkRoom checks that the pointer points past the option, which is then full, or to at
// least n bytes of room.
func checkRoom(b []byte, n int) int {
	if at := int(b[2]); at <= len(b) && at+n-1 > len(b) {
		return 2
	}
	return -1
}

// Kinds of the timestamp option, in the low half of its fourth byte.
const (
	timestampOnly       = 0
	timestampAddress    = 1
	timestampPrescribed = 3
)

func checkTimestamps(b []byte) int {
	if bad := checkPointer(b, 4, 5); bad >= 0 {
		return bad
	}
	kind := b[3] & 15
	switch {
	case int(b[2]) > len(b):
		if kind != timestampPrescribed && b[3]>>4 == 15 {
			return 3 // the overflow counter is at its maximum
		}
		return -1
	case kind == timestampAddress, kind == timestampPrescribed:
		return checkRoom(b, 8)
	}
	return checkRoom(b, 4)
}

func (o *Options) checkCIPSO(b []byte) int {
	if o.label {
		return 0
	}
	o.label = true
	if len(b) < 8 {
		return 1
	}
	return 2
}

// OptionEntries are what a router adds to the options of a packet that it forwards.
type OptionEntries struct {
	Route      [4]byte // its address for a record route
	Stamp      [4]byte // and for timestamps
	Time       uint32  // milliseconds since midnight UT
	Prescribed bool    // the address that Frame.Prescribed returned is its own
}

// Prescribed returns the address whose owner adds the next timestamp, if the sender
// prescribed one.
func (f *Frame) Prescribed(o *Options) (a [4]byte, ok bool) {
	if o.timestamps == 0 {
		return a, false
	}
	b := f.L3()[o.timestamps:f.IPHeaderLen()]
	if b[3]&15 != timestampPrescribed || b[2] > b[1] {
		return a, false
	}
	return [4]byte(b[b[2]-1:]), true
}

// FillOptions adds a router's entries to the record route and timestamps of a packet
// with valid Options (RFC 791 section 3.1).
func (f *Frame) FillOptions(o *Options, p *OptionEntries) {
	header := f.L3()[:f.IPHeaderLen()]
	if b := header[o.record:]; o.record != 0 && b[2] <= b[1] {
		copy(b[b[2]-1:], p.Route[:])
		b[2] += 4
	}
	if o.timestamps != 0 {
		b := header[o.timestamps:]
		p.timestamp(b[:b[1]])
	}
	SumHeader4(header)
}

// timestamp adds an entry to the timestamps, or counts an overflow if there is no
// room.
func (p *OptionEntries) timestamp(b []byte) {
	kind, at := b[3]&15, b[2]-1
	switch {
	case int(b[2]) > len(b):
		if kind != timestampPrescribed {
			b[3] += 1 << 4
		}
		return
	case kind == timestampAddress:
		copy(b[at:], p.Stamp[:])
	case kind == timestampPrescribed:
		if !p.Prescribed {
			return
		}
	case kind == timestampOnly:
		binary.BigEndian.PutUint32(b[at:], p.Time)
		b[2] += 4
		return
	default:
		return
	}
	binary.BigEndian.PutUint32(b[at+4:], p.Time)
	b[2] += 8
}

// FragmentPorts returns the flow of a first fragment with its ports, if the fragment
// has them.
func (f *Frame) FragmentPorts() (Flow, bool) {
	l4 := f.L4()
	if !f.Info.Fragment || f.Info.FragOff != 0 || len(l4) < 4 || !f.Is4() {
		return Flow{}, false
	}
	flow := f.Flow
	flow.SetPorts(binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:]))
	return flow, true
}
