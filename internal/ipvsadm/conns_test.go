package ipvsadm

import (
	"net/netip"
	"strings"
	"testing"

	"uvs/forwarder/config"
)

// recordedConnections are those of conns.txt.
func recordedConnections() []config.Connection {
	conn := func(p config.Proto, client, virtual, server, state string, seconds uint32) config.Connection {
		return config.Connection{
			Proto: p, Client: netip.MustParseAddrPort(client), Virtual: netip.MustParseAddrPort(virtual),
			Server: netip.MustParseAddrPort(server), State: state, Expires: seconds*1000 + 999,
		}
	}
	long := conn(config.UDP, "172.16.6.1:0", "10.0.0.1:5060", "10.1.0.1:5060", "NONE", 58)
	long.PEName, long.PEData = "sip", "a-much-longer-call-id-than-that-0123456789@host.example"
	short := conn(config.UDP, "172.16.5.1:0", "10.0.0.1:5060", "10.1.0.2:5060", "NONE", 58)
	short.PEName, short.PEData = "sip", "abcdef@host.example"
	return []config.Connection{
		conn(config.TCP, "172.16.5.1:1025", "10.0.0.1:80", "10.1.0.1:8080", "SYN_RECV", 59),
		long,
		conn(0, "172.16.5.1:0", "0.0.0.77:0", "10.1.0.2:0", "NONE", 8),
		short,
		conn(config.TCP, "[fd00:c::5]:1025", "[fd00::1]:443", "[fd00:1::1]:443", "SYN_RECV", 59),
		conn(config.TCP, "172.16.5.1:1026", "10.0.0.9:22", "10.1.0.2:22", "ESTABLISHED", 899),
	}
}

// Recorded from ipvsadm 1.31, with the addresses of these tests' names.
func TestConnectionListings(t *testing.T) {
	for _, s := range sections(t, "testdata/conns.txt") {
		t.Run(s.title, func(t *testing.T) {
			d := &shown{connections: recordedConnections()}
			check(t, "output", s.output, d.list(strings.Fields(s.title)[1:]...))
		})
	}
}
