package forwarder

import (
	"log/slog"
	"strings"
	"testing"
)

func TestAServerBehindAnExcludedInterfaceIsWarnedAboutOnce(t *testing.T) {
	for _, c := range []struct {
		name       string
		interfaces []string
		warnings   int
	}{
		{"all interfaces", nil, 0},
		{"both named", []string{"c", "s"}, 0},
		{"the servers' one left out", []string{"c"}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			var said strings.Builder
			b := newTestbed(t, twoByNAT)
			b.fw.conf.Interfaces, b.fw.log = c.interfaces, slog.New(slog.NewTextHandler(&said, nil))
			b.fw.checkedServers = nil
			b.apply("") // as when the interfaces are joined at the start
			b.apply("-A -t 10.2.0.9:80 -s rr\n-a -t 10.2.0.9:80 -r 10.1.0.1:80 -m")
			if n := strings.Count(said.String(), "takes an interface that -i leaves out"); n != c.warnings {
				t.Errorf("%d warnings, want %d:\n%s", n, c.warnings, &said)
			}
			said.Reset()
			b.apply("-a -t 10.2.0.9:80 -r 10.1.0.7:80 -m")
			if has := strings.Contains(said.String(), `server=10.1.0.7 link=s`) && strings.Contains(said.String(), `do="add -i s, or leave -i out"`); has != (c.warnings > 0) {
				t.Errorf("when one is added: %q", &said)
			}
		})
	}
}
