package lab_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"uvs/forwarder/frame"
	"uvs/lab"
	"uvs/lab/labtest"
)

// TestAConnectionGoesOnUnderFloods, new ones get through, and every frame is accounted for.
// The sources are on the client's link, where nobody answers for them.
func TestAConnectionGoesOnUnderFloods(t *testing.T) {
	for _, topology := range []string{"nat", "fullnat"} {
		t.Run(topology, func(t *testing.T) {
			l := labtest.Start(t, labtest.Build(t, topology, lab.Options{}))
			held := openSession(t, l)
			a := newAttacker(t, l)
			for _, f := range []struct {
				name string
				make func(i int) []byte
			}{
				{"UDP to all ports", func(i int) []byte { return a.packet(17, a.udp(1+i%65535), a.somebody) }},
				{"fragments", func(i int) []byte {
					return a.packet(17, make([]byte, 400), func(ip []byte) {
						a.somebody(ip)
						binary.BigEndian.PutUint16(ip[6:], 0x2000|uint16(a.IntN(100)))
					})
				}},
				{"forged ICMP", func(int) []byte {
					quoted := a.packet(6, segment(frame.FlagACK, 5, 0), func(ip []byte) {
						copy(ip[12:], a.vip[:])
						a.stranger(ip[16:])
					})[frame.EthernetLen:]
					m := append([]byte{3, 4, 0, 0, 0, 0, 2, 88}, quoted...)
					binary.BigEndian.PutUint16(m[2:], frame.Checksum(m))
					return a.packet(1, m, a.somebody)
				}},
				{"questions for the address", func(int) []byte { return a.arp(func(b []byte) { a.stranger(b[14:]) }) }},
				{"claims to the address", func(int) []byte { return a.arp(func(b []byte) { copy(b[14:], a.vip[:]) }) }},
				{"SYNs to a SYN proxy", func(int) []byte { return a.packet(6, segment(frame.FlagSYN, 5, 0), a.somebody) }},
			} {
				t.Run(f.name, func(t *testing.T) {
					if strings.HasSuffix(f.name, "proxy") {
						proxySYNs(t, l)
					}
					for range 4 {
						for i := range 1000 {
							a.send(f.make(i))
						}
						if server, err := held.ask(patience); err != nil || server != held.server {
							t.Fatalf("the connection from before: %q, %v", server, err)
						}
						if _, failed := attempts(l, 2, patience); failed != 0 {
							t.Errorf("%d of 2 requests fail", failed)
						}
					}
					labtest.Exec(t, l, "director", "uvs", "stats", "--check")
				})
			}
			all := counters(t, l)
			if all["address-claims"] == 0 || all["address-defended"] == 0 || all["address-defended"] > 20 {
				t.Errorf("counters: %v", all)
			}
		})
	}
}

// stranger writes an address of the client's network at which nobody is.
func (a *attacker) stranger(b []byte) {
	copy(b[:4], a.own[:])
	binary.BigEndian.PutUint16(b[2:], uint16(a.IntN(60000)))
	if [4]byte(b) == a.own || [4]byte(b) == a.vip {
		b[3]++
	}
}

// somebody makes the source of a packet a stranger.
func (a *attacker) somebody(ip []byte) { a.stranger(ip[12:16]) }

// udp is a datagram with a byte of data, without a checksum.
func (a *attacker) udp(port int) []byte {
	b := []byte{0: 4, 9: 'x'}[:9]
	binary.BigEndian.PutUint16(b[2:], uint16(port))
	b[5] = 9
	return b
}
