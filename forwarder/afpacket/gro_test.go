package afpacket

import (
	"errors"
	"log/slog"
	"testing"

	"github.com/vishvananda/netlink"

	"uvs/internal/ethtool"
	"uvs/internal/nstest"
)

func TestGROIsTurnedOnAsItsModeSaysAndRestored(t *testing.T) {
	for _, tc := range []struct {
		name   string
		mode   GROMode
		before bool // as the interface was found
		during bool
	}{
		{"auto turns it on on a veth", GROAuto, false, true},
		{"on turns it on", GROOn, false, true},
		{"off leaves it off", GROOff, false, false},
		{"off leaves it on", GROOff, true, true},
		{"what was on stays on at the end, because somebody asked", GROAuto, true, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			nstest.Veth(t, "near", "far")
			setGRO(t, tc.before)
			g := &GRO{Mode: tc.mode, Log: slog.New(slog.DiscardHandler)}
			g.Enable(byName(t, "near").Index)
			g.Enable(1 << 30)
			if got := hasGRO(t); got != tc.during {
				t.Errorf("GRO %v with the director, want %v", got, tc.during)
			}
			if err := g.Restore(); err != nil {
				t.Error(err)
			}
			if got := hasGRO(t); got != tc.before {
				t.Errorf("GRO %v at the end, want %v", got, tc.before)
			}
		})
	}
}

func TestGROOfARenamedInterfaceIsRestored(t *testing.T) {
	nstest.Veth(t, "near", "far")
	setGRO(t, false)
	g := &GRO{Mode: GROAuto, Log: slog.New(slog.DiscardHandler)}
	g.Enable(byName(t, "near").Index)
	rename(t, "near", "moved")
	if err := g.Restore(); err != nil {
		t.Error(err)
	}
	rename(t, "moved", "near")
	if hasGRO(t) {
		t.Error("GRO was left on")
	}
}

func rename(t *testing.T, from, to string) {
	t.Helper()
	link, err := netlink.LinkByName(from)
	if err == nil {
		err = errors.Join(netlink.LinkSetDown(link), netlink.LinkSetName(link, to), netlink.LinkSetUp(link))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestParseGROKnowsItsThreeModes(t *testing.T) {
	for name, want := range map[string]GROMode{"auto": GROAuto, "on": GROOn, "off": GROOff} {
		if got, err := ParseGRO(name); got != want || err != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	if _, err := ParseGRO("yes"); err == nil {
		t.Error("yes: no error")
	}
}

func setGRO(t *testing.T, on bool) {
	t.Helper()
	if err := ethtool.SetFeatures("near", map[string]bool{groFeature: on}); err != nil {
		t.Fatal(err)
	}
}

func hasGRO(t *testing.T) bool {
	t.Helper()
	all, err := ethtool.Features("near")
	if err != nil {
		t.Fatal(err)
	}
	return all[groFeature]
}
