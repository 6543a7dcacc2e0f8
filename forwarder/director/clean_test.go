package director

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"uvs/forwarder/config"
	"uvs/internal/ethtool"
	"uvs/internal/nstest"
)

func isOn(t *testing.T, link string) bool {
	t.Helper()
	features, err := ethtool.Features(link)
	if err != nil {
		t.Skip(err)
	}
	return features["rx-gro"]
}

// leaveBehind runs a director that changes the host, and ends it as a kill does.
func leaveBehind(t *testing.T, c Config, link string) {
	t.Helper()
	d, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ended, _ := run(t, d)
	if err := d.AddService(config.Service{Key: config.Key{Proto: config.TCP, Addr: netip.MustParseAddr("10.9.0.5"), Port: 80}, Scheduler: "rr"}); err != nil {
		t.Fatal(err)
	}
	i, err := net.InterfaceByName(link)
	if err != nil {
		t.Fatal(err)
	}
	d.gro.Enable(i.Index)
	if !isOn(t, link) {
		t.Skip("GRO cannot be turned on here")
	}
	d.Leave()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for _, name := range c.Store.Names("") {
		_ = c.Store.Forget(name) // as the end of the process
	}
	if !isOn(t, link) {
		t.Error("a killed director turned GRO off")
	}
}

func TestWhatAKilledDirectorLeavesIsUndone(t *testing.T) {
	for _, by := range []struct {
		name string
		undo func(t *testing.T, c Config)
	}{
		{"by the next", func(t *testing.T, c Config) {
			d, err := New(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			ended, stop := run(t, d)
			stop()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
		}},
		{"by Clean", func(t *testing.T, c Config) {
			entry := &netlink.Neigh{LinkIndex: indexOf(t, "near"), IP: net.IPv4(10, 9, 0, 7), State: netlink.NUD_REACHABLE, HardwareAddr: macOf(t, "near")}
			if err := netlink.NeighSet(entry); err != nil {
				t.Fatal(err)
			}
			done, err := Clean(c)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{"generic receive offload is off again: near", "neighbour table removed: 10.9.0.7", "state removed: " + c.State} {
				if !slices.ContainsFunc(done, func(line string) bool { return strings.Contains(line, want) }) {
					t.Errorf("done is %q, want %q in it", done, want)
				}
			}
			if _, err := os.Lstat(c.State); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the state: %v", err)
			}
		}},
	} {
		t.Run(by.name, func(t *testing.T) {
			nstest.Need(t)
			nstest.Veth(t, "near", "far")
			dir := shortDir(t)
			c := kept(t, dir+"/socket", "")
			leaveBehind(t, c, "near")
			by.undo(t, c)
			if isOn(t, "near") {
				t.Error("GRO stays on")
			}
		})
	}
}

func TestCleanLeavesADirectorThatRunsAlone(t *testing.T) {
	nstest.Need(t)
	c := kept(t, shortDir(t)+"/socket", "")
	d, err := New(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	ended, stop := run(t, d)
	if _, err := Clean(c); err == nil || !strings.Contains(err.Error(), "one works here") {
		t.Errorf("Clean: %v", err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func indexOf(t *testing.T, link string) int {
	t.Helper()
	i, err := net.InterfaceByName(link)
	if err != nil {
		t.Fatal(err)
	}
	return i.Index
}

func macOf(t *testing.T, link string) net.HardwareAddr {
	t.Helper()
	i, err := net.InterfaceByName(link)
	if err != nil {
		t.Fatal(err)
	}
	return i.HardwareAddr
}
