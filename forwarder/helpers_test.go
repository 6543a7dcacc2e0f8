package forwarder

import (
	"net/netip"
	"testing"

	"uvs/forwarder/config"
	"uvs/sched"
)

func tcp(addrPort string) config.Key {
	a := netip.MustParseAddrPort(addrPort)
	return config.Key{Proto: config.TCP, Addr: a.Addr(), Port: a.Port()}.Normal()
}

func masq(addrPort string, weight int32) config.Server {
	a := netip.MustParseAddrPort(addrPort)
	return config.Server{Addr: a.Addr(), Port: a.Port(), Method: sched.Masq, Weight: weight}
}

func mustDo(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
