package forwarder

import (
	"net/netip"
	"testing"
	"testing/synctest"

	"uvs/forwarder/config"
	"uvs/forwarder/connsync"
)

const oneByFullNAT = `-A -t 10.2.0.1:80 -s rr
--add-laddr -t 10.2.0.1:80 --laddr 10.1.200.1
-a -t 10.2.0.1:80 -r 10.1.0.1:80 --fullnat
`

// Whoever can send entries does not make a director answer for an address.
func TestNoAddressIsAnsweredForBecauseAnotherDirectorNamesIt(t *testing.T) {
	for _, c := range []struct {
		name, local    string
		do             func(*crafty)
		conns, answers bool
		trust          SyncTrust
	}{
		{"a foreign address", "10.1.0.254", nil, true, false, TrustKernel},
		{"a foreign address, with trust in servers", "10.1.0.254", nil, false, false, TrustServers},
		{"a local address of the service", "10.1.200.1", nil, true, true, TrustServers},
		{"one that the service had when it came", "10.1.200.1", func(c *crafty) {
			c.two.apply("--del-laddr -t 10.2.0.1:80 --laddr 10.1.200.1")
		}, true, true, TrustServers},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newCrafty(t, oneByFullNAT, SyncConfig{Trust: c.trust})
				local := netip.MustParseAddr(c.local)
				x.says(func(e *connsync.Entry) { e.LocalPort, e.Local = 6000, local.As16() })
				if c.do != nil {
					c.do(x)
				}
				mustDo(t, x.two.fw.RebuildPlan())
				if got := x.two.fw.conns.Len() > 0; got != c.conns {
					t.Errorf("the entry was taken: %t, want %t", got, c.conns)
				}
				if got := x.two.fw.newPlan().Answers(local); got != c.answers || x.two.fw.view.Load().Owns(local.As16()) != got {
					t.Errorf("%s is answered for: %t, want %t", local, got, c.answers)
				}
				if x.two.fw.planOutdated() {
					t.Error("a fresh plan is outdated")
				}
			})
		})
	}
}

// A stand-by that is not to answer yet is content with its plan.
func TestAPlanWithCopiesByFullNATIsUpToDateInEveryRole(t *testing.T) {
	for _, role := range []config.VIPRole{config.VIPDefault, config.VIPAlways, config.VIPHost, config.VIPNone} {
		t.Run("role "+string(role), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newCrafty(t, oneByFullNAT, SyncConfig{})
				x.two.fw.conf.VIPRole = role
				mustDo(t, x.two.fw.RebuildPlan())
				x.says(func(e *connsync.Entry) { e.LocalPort, e.Local = 6000, netip.MustParseAddr("10.1.200.1").As16() })
				for _, change := range []string{"", "--del-laddr -t 10.2.0.1:80 --laddr 10.1.200.1", "-D -t 10.2.0.1:80"} {
					x.two.apply(change)
					mustDo(t, x.two.fw.RebuildPlan())
					if x.two.fw.planOutdated() {
						t.Errorf("after %q a fresh plan is outdated", change)
					}
					if role == config.VIPHost && x.two.fw.newPlan().Answers(netip.MustParseAddr("10.1.200.1")) {
						t.Errorf("after %q the stand-by answers for the local address", change)
					}
				}
			})
		})
	}
}
