package load

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"

	"uvs/forwarder/frame"
)

var otherServer = netip.MustParseAddrPort("198.19.0.101:4001")

// translate does to a request what NAT does: another destination, and checksums
// that agree.
func translate(b []byte, to netip.AddrPort) []byte {
	b = bytes.Clone(b)
	ip, udp := b[ipOffset:], b[udpOffset:]
	copy(ip[16:20], to.Addr().AsSlice())
	binary.BigEndian.PutUint16(udp[2:], to.Port())
	return summed(b)
}

// summed makes both checksums of a frame right.
func summed(b []byte) []byte {
	ip, udp := b[ipOffset:], b[udpOffset:]
	clear(ip[10:12])
	clear(udp[6:8])
	binary.BigEndian.PutUint16(ip[10:], ^frame.Fold(frame.Sum(ip[:20], 0)))
	binary.BigEndian.PutUint16(udp[6:], checksum(frame.Sum(udp, frame.PseudoSum(ip[12:16], ip[16:20], frame.ProtoUDP, len(udp)))))
	return b
}

// gateThrough is a gate of a NAT forwarder in memory, which is given all frames as a
// right one would have them arrive, and makes of them what does.
func gateThrough(forward func([][]byte) [][]byte) *Trial {
	st := NewStream(Load{Size: 128, Flows: 10}, 7, testDst, testMAC, testMAC)
	s := &sink{last: map[uint32]uint32{}, seen: map[uint64]bool{}, servers: map[uint32]netip.AddrPort{}, latency: hdrhistogram.New(1, 1000, 3),
		expect: expect{method: NAT, trial: 7, flows: 10, dstMAC: [6]byte(testMAC), virtual: testDst, servers: []netip.AddrPort{testServer, otherServer}}}
	var frames [][]byte
	for range 1000 {
		frames = append(frames, translate(st.Take(1, 0)[0].Bytes(), testServer))
	}
	arrived := forward(frames)
	for _, b := range arrived {
		s.take(b, 0)
	}
	t := &Trial{Target: "nat", Intended: 1000, Sent: 1000, Received: uint64(len(arrived))}
	s.report(t)
	t.JudgeGate()
	return t
}

func TestAForwarderThatDoesWrongIsInvalid(t *testing.T) {
	tests := []struct {
		name    string
		forward func(all [][]byte) [][]byte
		want    string // in the faults; empty: valid
	}{
		{"one that forwards every frame to the right server", func(all [][]byte) [][]byte { return all }, ""},
		{"one that loses a frame, because a machine may be busy", func(all [][]byte) [][]byte { return all[1:] }, ""},
		{"one that loses a fiftieth", func(all [][]byte) [][]byte { return all[20:] }, "20 of 1000 frames did not arrive"},
		{"one that loses everything", func([][]byte) [][]byte { return nil }, "nothing arrived"},
		{"one that sends a frame twice", func(all [][]byte) [][]byte { return append(all, all[500]) }, "1001 frames arrived of 1000 sent"},
		{"one that sends a frame twice and loses another, so that the number is right",
			func(all [][]byte) [][]byte { return append(all[1:], all[500]) }, "frame arrived twice"},
		{"one that turns the order of its frames round", func(all [][]byte) [][]byte {
			for i := range 50 {
				slices.Reverse(all[20*i : 20*i+20])
			}
			return all
		}, "were overtaken by a later one of their flow"},
		{"one that changes a byte", func(all [][]byte) [][]byte { all[3][len(all[3])-1]++; return all }, "checksum is wrong"},
		{"one that changes a byte and makes the checksum agree", func(all [][]byte) [][]byte {
			all[3][len(all[3])-1]++
			summed(all[3])
			return all
		}, "payload byte"},
		{"one that cuts frames", func(all [][]byte) [][]byte { all[3] = all[3][:60]; return all }, "IP length is wrong"},
		{"one that sends to what is no server", func(all [][]byte) [][]byte {
			all[3] = translate(all[3], netip.MustParseAddrPort("198.19.0.102:4001"))
			return all
		}, "is not one of the servers"},
		{"one that forgets the server of a flow", func(all [][]byte) [][]byte {
			all[503] = translate(all[503], otherServer)
			return all
		}, "a flow came to 198.19.0.100:4001 first and to 198.19.0.101:4001 later"},
		{"one that mistakes the client", func(all [][]byte) [][]byte {
			all[3][ipOffset+15]++
			summed(all[3])
			return all
		}, "source is not the client of the flow"},
		{"one that makes up frames", func(all [][]byte) [][]byte {
			b := bytes.Clone(all[3])
			binary.BigEndian.PutUint32(b[payloadOffset+flowAt:], 10)
			return append(all[1:], summed(b))
		}, "flow was not sent"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			trial := gateThrough(test.forward)
			problems := strings.Join(trial.Problems(), "; ")
			if trial.Valid() != (test.want == "") || !strings.Contains(problems, test.want) {
				t.Errorf("valid %v, %q; want %q", trial.Valid(), problems, test.want)
			}
		})
	}
}

// TestAReplyThatIsNotTheServicesIsInvalid answers from the server's own address, as a
// forwarder would that does not translate back, and to another client.
func TestAReplyThatIsNotTheServicesIsInvalid(t *testing.T) {
	client, port := Source(3)
	other, otherPort := Source(4)
	for _, test := range []struct {
		name string
		ends ends
		want string
	}{
		{"from the virtual service to the client", ends{src: testDst.Addr().As4(), srcPort: testDst.Port(), dst: client, dstPort: port}, ""},
		{"from the server itself", ends{src: testServer.Addr().As4(), srcPort: testServer.Port(), dst: client, dstPort: port}, "not from the virtual service"},
		{"to another client", ends{src: testDst.Addr().As4(), srcPort: testDst.Port(), dst: other, dstPort: otherPort}, "not the client of the flow"},
	} {
		t.Run(test.name, func(t *testing.T) {
			st := NewStream(Load{Size: 64, Flows: 1, First: 3}, 7, testDst, testMAC, testMAC)
			st.answer([]ends{test.ends})
			e := expect{method: NAT, trial: 7, first: 3, flows: 1, dstMAC: [6]byte(testMAC), reply: true, virtual: testDst}
			_, _, mine, fault := e.check(st.Take(1, 0)[0].Bytes())
			if !mine || (fault == "") != (test.want == "") || !strings.Contains(fault, test.want) {
				t.Errorf("mine %v, fault %q; want %q", mine, fault, test.want)
			}
		})
	}
}

func TestAFollowedFrameIsRightOnlyOnce(t *testing.T) {
	st := NewStream(Load{Size: 64, Flows: 4}, 7, testDst, testMAC, testMAC)
	f := &follower{every: 1, flows: 4, latency: []int32{-1, -1, -1},
		expect: expect{method: DR, trial: 7, flows: 4, dstMAC: [6]byte(testMAC), virtual: testDst}}
	var frames [][]byte
	for range 4 {
		frames = append(frames, bytes.Clone(st.Take(1, 0)[0].Bytes()))
	}
	for _, i := range []int{0, 2, 2, 3} {
		f.take(frames[i], 100)
	}
	if want := []int32{100, -1, 100}; !slices.Equal(want, f.latency) {
		t.Errorf("latencies %v, want %v: the second frame is lost", f.latency, want)
	}
	if want := []string{"frame arrived twice", "frame was not sent"}; !slices.Equal(want, f.faults) {
		t.Errorf("faults %q, want %q", f.faults, want)
	}
}

func TestARecorderNotesTheServerOfEachConnection(t *testing.T) {
	st := NewStream(Load{Size: 64, Flows: 3, SYN: true}, 7, testDst, testMAC, testMAC)
	w := &recorder{picks: make([]uint16, 3), numbers: map[netip.AddrPort]uint16{testServer: 1, testDst: 2},
		expect: expect{method: DR, trial: 7, flows: 3, proto: frame.ProtoTCP, dstMAC: [6]byte(testMAC), virtual: testDst}}
	var frames [][]byte
	for range 3 {
		frames = append(frames, bytes.Clone(st.Take(1, 0)[0].Bytes()))
	}
	frames[1][len(frames[1])-1]++ // changed on its way
	for _, i := range []int{0, 1, 0} {
		w.take(frames[i])
	}
	if want := []uint16{2, 0, 0}; !slices.Equal(want, w.picks) {
		t.Errorf("picks %v, want %v", w.picks, want)
	}
	if len(w.faults) != 2 || !strings.Contains(w.faults[0], "checksum") || w.faults[1] != "frame arrived twice" {
		t.Errorf("faults %q", w.faults)
	}
}
