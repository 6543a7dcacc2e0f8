package lab_test

import (
	"slices"
	"strings"
	"testing"

	"uvs/lab"
	"uvs/lab/labtest"
)

// pagesOf asks for a page some times and returns who answered.
func pagesOf(t *testing.T, l *lab.Lab, url string, times int) (all []string) {
	t.Helper()
	for range times {
		page, err := l.Get("client", url)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, strings.TrimSpace(page))
	}
	return all
}

func TestMixedHasAServerOfEachMethod(t *testing.T) {
	for _, name := range []string{"mixed", "mixed6"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := labtest.Start(t, labtest.Build(t, name, lab.Options{}))
			if got := strings.Join(pagesOf(t, l, l.Topology.URL("/"), 6), " "); got != "Web3 Web2 Web1 Web3 Web2 Web1" {
				t.Errorf("answers came from %s", got)
			}
			listing := labtest.Exec(t, l, "director", "ipvsadm", "-Ln")
			for _, method := range []string{"Masq", "Route", "Tunnel"} {
				if !strings.Contains(listing, method) {
					t.Errorf("no server by %s:\n%s", method, listing)
				}
			}
		})
	}
}

func TestTwoVIPsAreTwoServices(t *testing.T) {
	for _, name := range []string{"two-vips", "two-vips6"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := labtest.Start(t, labtest.Build(t, name, lab.Options{VIPElsewhere: name == "two-vips6"}))
			urls := l.Topology.URLs("/")
			if got := strings.Join(pagesOf(t, l, urls[0], 4), " "); got != "Web2 Web1 Web2 Web1" {
				t.Errorf("at the first address answers came from %s", got)
			}
			if got := slices.Compact(pagesOf(t, l, urls[1], 4)); len(got) != 1 {
				t.Errorf("at the second address answers came from %s", got)
			}
		})
	}
}

// Each site has a cache of its own, and other ports of it are not the caches' business.
func TestTheCacheFarmKeepsEachSiteAtOneCache(t *testing.T) {
	for _, name := range []string{"cache-farm", "cache-farm6"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := labtest.Start(t, labtest.Build(t, name, lab.Options{}))
			var caches []string
			for _, url := range l.Topology.URLs("/") {
				got := slices.Compact(pagesOf(t, l, url, 3))
				if len(got) != 1 {
					t.Errorf("%s came from %s", url, got)
				}
				caches = append(caches, got[0])
			}
			slices.Sort(caches)
			if got := slices.Compact(caches); !slices.Equal(got, []string{"Web1", "Web2"}) {
				t.Errorf("the sites are at %s, want them at both caches", got)
			}
		})
	}
}

// What the doctor and the drawing ask of a topology.
func TestOfSeveralVirtualAddressesEachHasItsPage(t *testing.T) {
	for name, want := range map[string]string{
		"two-vips":    "http://172.16.253.63/ http://172.16.253.64/",
		"two-vips6":   "http://[fd00:172:16::253:63]/ http://[fd00:172:16::253:64]/",
		"cache-farm":  "http://203.0.113.1/ http://203.0.113.2/ http://203.0.113.3/ http://203.0.113.4/",
		"cache-farm6": "http://[fd00:203::113:1]/ http://[fd00:203::113:2]/ http://[fd00:203::113:3]/ http://[fd00:203::113:4]/",
		"nat":         "http://172.16.253.63/",
	} {
		topology := labtest.Build(t, name, lab.Options{})
		if got := strings.Join(topology.URLs("/"), " "); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// A fault that nothing in a topology depends on is not inserted there; what fits the servers of
// one method goes to one of those.
func TestFaultsFitTheServersOfTheirMethod(t *testing.T) {
	for name, c := range map[string]struct{ fit, not []string }{
		"mixed":      {fit: []string{"no-decap", "same-subnet", "mask", "no-return"}, not: []string{"local-address"}},
		"two-vips":   {fit: []string{"mask", "vip-missing"}, not: []string{"no-decap", "same-subnet", "left-out"}},
		"cache-farm": {fit: []string{"rules-lost", "no-server", "persistence"}, not: []string{"mask", "listen", "vip-missing", "firewall-unseen"}},
		"fullnat":    {fit: []string{"local-address"}, not: []string{"mask", "same-subnet"}},
		"ha":         {fit: []string{"mtu"}, not: []string{"rules-lost", "mask"}},
	} {
		topology := labtest.Build(t, name, lab.Options{})
		for _, fault := range append(c.fit, c.not...) {
			f, err := lab.FindFault(fault)
			if err != nil {
				t.Fatal(err)
			}
			if f.Fits(&topology) != slices.Contains(c.fit, fault) {
				t.Errorf("%s: %s fits: %t", name, fault, f.Fits(&topology))
			}
		}
	}
}
