package modes_test

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/gopacket/layers"

	"uvs/modes"
)

var addresses = cmpopts.EquateComparable(netip.Addr{})

func TestFTPCommands(t *testing.T) {
	active := func(a string, port uint16, start, end int) modes.FTPLine {
		return modes.FTPLine{Kind: modes.FTPActive, Addr: addr(a), Port: port, Start: start, End: end}
	}
	for _, c := range []struct {
		because, line string
		v6            bool
		want          modes.FTPLine
	}{
		{"PASV asks for a passive server", "PASV\r\n", false, modes.FTPLine{Kind: modes.FTPPassive}},
		{"commands may be in small letters", "pasv\r\n", false, modes.FTPLine{Kind: modes.FTPPassive}},
		{"PASV cannot say an IPv6 address", "PASV\r\n", true, modes.FTPLine{}},
		{"EPSV with a family", "EPSV 1\r\n", false, modes.FTPLine{Kind: modes.FTPExtended}},
		{"EPSV over IPv6", "EPSV\r\n", true, modes.FTPLine{Kind: modes.FTPExtended}},
		{"PORT tells the client's address", "PORT 172,16,0,9,190,5\r\n", false, active("172.16.0.9", 190*256+5, 5, 21)},
		{"EPRT over IPv4", "EPRT |1|172.16.0.9|48645|\r\n", false, active("172.16.0.9", 48645, 5, 25)},
		{"EPRT over IPv6", "EPRT |2|fd00:c::9|48645|\r\n", true, active("fd00:c::9", 48645, 5, 24)},
		{"any delimiter", "EPRT !1!172.16.0.9!48645!\r\n", false, active("172.16.0.9", 48645, 5, 25)},
		{"EPRT of the other family", "EPRT |2|fd00:c::9|48645|\r\n", false, modes.FTPLine{}},
		{"a number above 255", "PORT 172,16,0,9,256,5\r\n", false, modes.FTPLine{}},
		{"a port above 65535", "EPRT |1|172.16.0.9|65536|\r\n", false, modes.FTPLine{}},
		{"port 0", "PORT 172,16,0,9,0,0\r\n", false, modes.FTPLine{}},
		{"too few numbers", "PORT 172,16,0,9,1\r\n", false, modes.FTPLine{}},
		{"half a line", "PORT 172,16,0,9,190,5", false, modes.FTPLine{}},
		{"another command that begins alike", "PASVX\r\n", false, modes.FTPLine{}},
		{"nothing", "", false, modes.FTPLine{}},
	} {
		if diff := cmp.Diff(c.want, modes.FTPCommand([]byte(c.line), !c.v6), addresses); diff != "" {
			t.Errorf("%s: %q (-want +got):\n%s", c.because, c.line, diff)
		}
	}
}

func TestFTPReplies(t *testing.T) {
	for _, c := range []struct {
		because, line string
		asked         modes.FTPKind
		want          string // the line with 10.2.0.1 port 51210 in it, empty if it is none
	}{
		{"the usual form", "227 Entering Passive Mode (10,1,0,1,200,10).\r\n", modes.FTPPassive,
			"227 Entering Passive Mode (10,2,0,1,200,10).\r\n"},
		{"without parentheses", "227 Entering Passive Mode 10,1,0,1,200,10\r\n", modes.FTPPassive,
			"227 Entering Passive Mode 10,2,0,1,200,10\r\n"},
		{"extended", "229 Entering Extended Passive Mode (|||51210|)\r\n", modes.FTPExtended,
			"229 Entering Extended Passive Mode (|||51210|)\r\n"},
		{"extended with an address, which need not be there", "229 Ok (|1|10.1.0.1|51210|)\r\n", modes.FTPExtended,
			"229 Ok (|||51210|)\r\n"},
		{"nobody asked", "227 Entering Passive Mode (10,1,0,1,200,10).\r\n", modes.FTPNone, ""},
		{"EPSV was asked", "227 Entering Passive Mode (10,1,0,1,200,10).\r\n", modes.FTPExtended, ""},
		{"a refusal", "500 Unknown command\r\n", modes.FTPPassive, ""},
		{"no numbers", "227 Entering Passive Mode\r\n", modes.FTPPassive, ""},
		{"the number may go on", "227 Entering Passive Mode (10,1,0,1,200,1", modes.FTPPassive, ""},
		{"other brackets", "229 Ok [|||51210|]\r\n", modes.FTPExtended, ""},
	} {
		got := ""
		if x := modes.FTPReply([]byte(c.line), c.asked, true); x.Kind != modes.FTPNone {
			got = c.line[:x.Start] + string(modes.AppendFTP(nil, x.Kind, addr("10.2.0.1"), x.Port)) + c.line[x.End:]
		}
		if got != c.want {
			t.Errorf("%s: %q became %q, want %q", c.because, c.line, got, c.want)
		}
	}
}

func FuzzFTP(f *testing.F) {
	for _, s := range []string{"PASV\r\n", "PORT 1,2,3,4,5,6\r\n", "EPRT |2|::1|7|\r\n", "227 x (1,2,3,4,5,6)", "229 (|||7|)", "227 "} {
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, b []byte, is4 bool) {
		for _, x := range []modes.FTPLine{modes.FTPCommand(b, is4), modes.FTPReply(b, modes.FTPPassive, is4), modes.FTPReply(b, modes.FTPExtended, is4)} {
			if x.Start < 0 || x.Start > x.End || x.End > len(b) {
				t.Fatalf("%q: bytes %d to %d", b, x.Start, x.End)
			}
			if x.End > 0 && x.Port == 0 {
				t.Fatalf("%q: no port", b)
			}
		}
	})
}

// What a side sent once, and sends again, must look the same behind the
// director both times, and what it is told must be what it sent.
func TestShiftFollowsChangesAndRetransmissions(t *testing.T) {
	const start = 1<<32 - 50 // sequence numbers wrap
	seq := uint32(start)
	var s modes.Shift
	type piece struct{ from, length, grown uint32 }
	pieces := []piece{{seq, 40, 3}, {seq + 40, 10, 0}, {seq + 50, 40, ^uint32(0) - 1}, {seq + 90, 10, 0}}
	var out uint32 = seq
	for _, p := range pieces {
		if got := s.Seq(p.from); got != out {
			t.Errorf("segment at %d leaves at %d, want %d", p.from, got, out)
		}
		if p.grown != 0 {
			s.Grow(p.from, int(int32(p.grown)))
			s.Grow(p.from, int(int32(p.grown))) // and comes again
		}
		if got := s.Seq(p.from); got != out {
			t.Errorf("the segment at %d leaves at %d when it comes again, want %d", p.from, got, out)
		}
		out += p.length + p.grown
		if got, want := s.Ack(out), p.from+p.length; got != want {
			t.Errorf("the acknowledgement %d means %d, want %d", out, got, want)
		}
	}
	if s.Seq(seq+100) != out || !s.Any() {
		t.Error("what comes after has another difference")
	}
}

func TestShiftedSegments(t *testing.T) {
	var s modes.Shift
	s.Grow(900, 3)
	f := parse(t, packet{reply: true, data: []byte("150 Here it comes\r\n")}.pack(t))
	s.Forth(f)
	judge(t, f.L3())
	back := parse(t, packet{opts: sackOption(5010, 5020), data: []byte(strings.Repeat("x", 33))}.pack(t))
	s.Back(back)
	judge(t, back.L3())
	if got, want := words(back.L4()[24:32]), [2]uint32{5007, 5017}; got != want {
		t.Errorf("SACK of %v, want %v", got, want)
	}
	if got := words(back.L4()[4:12]); got != [2]uint32{1000, 4997} {
		t.Errorf("sequence and acknowledgement are %v", got)
	}
}

func sackOption(from, to uint32) []layers.TCPOption {
	b := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, from), to)
	return []layers.TCPOption{{OptionType: layers.TCPOptionKindNop, OptionLength: 1}, {OptionType: layers.TCPOptionKindNop, OptionLength: 1},
		{OptionType: layers.TCPOptionKindSACK, OptionLength: 10, OptionData: b}}
}

func words(b []byte) [2]uint32 {
	return [2]uint32{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}
