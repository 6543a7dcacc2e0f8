package lab_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"uvs/internal/web"
	"uvs/lab"
	"uvs/lab/labtest"
)

// The tests of this file send real traffic through the director of every
// topology:
//
//	nat         client ── director ── rs1, rs2
//	dr          client, director, rs1, rs2 on one segment
//	tun         client ── gateway ── director;  gateway ── rs1, rs2
//	fullnat     client ── director ── gateway ── rs1, rs2
//	dr-gateway  client ── gateway ── director, rs1, rs2
//
// over IPv4 and, under the names with a 6, over IPv6;
// with checksum and segmentation offload on every interface and without, and
// with large frames.

// bulk is the length of a transfer in bytes: more than fits a window or a buffer, which could
// hide a fault, and if every segment is a frame, more than there are IPv4 identifications.
func bulk(l *lab.Lab) int64 {
	for _, n := range l.Topology.Networks {
		if n.NoOffload && !testing.Short() {
			return 200 << 20
		}
	}
	return 40 << 20
}

func TestTraffic(t *testing.T) {
	for _, topology := range []string{"nat", "dr", "tun", "fullnat", "dr-gateway", "nat6", "dr6", "tun6", "fullnat6"} {
		for _, w := range []struct {
			name    string
			options lab.Options
		}{
			{"offloads on", lab.Options{}},
			{"offloads off", lab.Options{NoOffload: true}},
			{"frames of 9000 bytes", lab.Options{MTU: 9000}},
		} {
			t.Run(topology+"/"+w.name, func(t *testing.T) {
				l := labtest.Start(t, labtest.Build(t, topology, w.options))
				addUDP(t, l)
				t.Run("HTTP", func(t *testing.T) { turns(t, l) })
				t.Run("download", func(t *testing.T) { download(t, l) })
				t.Run("upload", func(t *testing.T) { upload(t, l) })
				t.Run("queries", func(t *testing.T) { queries(t, l) })
				t.Run("large datagrams", func(t *testing.T) { largeDatagrams(t, l) })
				if w.name == "offloads on" {
					t.Run("parallel", func(t *testing.T) { parallel(t, l) })
					t.Run("death", func(t *testing.T) { death(t, l) })
				}
				if t.Failed() {
					report(t, l)
				}
			})
		}
	}
}

// addUDP gives the director services for the UDP responders, with the same
// servers as its web service.
func addUDP(t *testing.T, l *lab.Lab) {
	t.Helper()
	for _, port := range []string{"53", "7"} {
		for _, c := range l.Topology.Node("director").Setup {
			words := make([]string, len(c))
			for i, w := range c {
				if w == "-t" {
					w = "-u"
				}
				if at, ok := strings.CutSuffix(w, ":80"); ok {
					w = at + ":" + port
				}
				words[i] = w
			}
			labtest.Exec(t, l, "director", words...)
		}
	}
}

// report logs the director's state if the test failed.
func report(t *testing.T, l *lab.Lab) {
	for _, argv := range [][]string{{"ipvsadm", "-Ln"}, {"ipvsadm", "-Ln", "--stats"}, {"uvs", "stats"}} {
		out, err := l.Exec("director", argv...)
		if len(out) > 4000 {
			out = out[:4000]
		}
		t.Logf("%s: %v\n%s", strings.Join(argv, " "), err, out)
	}
}

func url(l *lab.Lab, path string) string { return l.Topology.URL(path) }

// vip returns a port of the virtual address.
func vip(l *lab.Lab, port uint16) string {
	return netip.AddrPortFrom(l.Topology.VIP, port).String()
}

// turns expects the servers in the scheduler's order: alternating for rr, 1 : 3 for the weights
// 2 and 6 of dr-gateway.
func turns(t *testing.T, l *lab.Lab) {
	count := map[string]int{}
	var order []string
	for range 8 {
		body, err := l.Get("client", url(l, "/"))
		if err != nil {
			t.Fatal(err)
		}
		order = append(order, strings.TrimSpace(body))
		count[strings.TrimSpace(body)]++
	}
	if l.Topology.Name == "dr-gateway" {
		if count["Web1"] != 2 || count["Web2"] != 6 {
			t.Errorf("answers came from %v, want Web1 : Web2 = 2 : 6", order)
		}
		return
	}
	for i := 1; i < len(order); i++ {
		if order[i] == order[i-1] {
			t.Fatalf("answers came from %v, want servers in turn", order)
		}
	}
}

// download fetches a stream and compares its hash.
func download(t *testing.T, l *lab.Lab) {
	began := time.Now()
	resp, err := l.HTTPClient("client").Get(url(l, fmt.Sprintf("/bytes/%d", bulk(l))))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, n, err := hash(resp.Body)
	if err != nil || n != bulk(l) || got != streamHash(bulk(l)) {
		t.Errorf("%d bytes with hash %s from %s, %v", n, got, resp.Header.Get("Real-Server"), err)
	}
	rate(t, l, began)
}

// upload sends a stream and compares its hash with the server's.
func upload(t *testing.T, l *lab.Lab) {
	began := time.Now()
	req, err := http.NewRequest(http.MethodPost, url(l, "/sum"), web.Stream(bulk(l)))
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = bulk(l)
	resp, err := l.HTTPClient("client").Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if want := fmt.Sprintf("%s %d\n", streamHash(bulk(l)), bulk(l)); err != nil || string(body) != want {
		t.Errorf("the server got %q, %v; want %q", body, err, want)
	}
	rate(t, l, began)
}

func rate(t *testing.T, l *lab.Lab, began time.Time) {
	t.Logf("%d MB at %.0f MB/s", bulk(l)>>20, float64(bulk(l)>>20)/time.Since(began).Seconds())
}

func hash(r io.Reader) (string, int64, error) {
	h := sha256.New()
	n, err := io.Copy(h, r)
	return hex.EncodeToString(h.Sum(nil)), n, err
}

// streamHash returns the hash of the stream's first n bytes, computed once.
func streamHash(n int64) string {
	h, ok := streamHashes.Load(n)
	if !ok {
		h, _, _ = hash(web.Stream(n))
		streamHashes.Store(n, h)
	}
	return h.(string)
}

var streamHashes sync.Map

// parallel opens a thousand connections, and then uses each of them.
func parallel(t *testing.T, l *lab.Lab) {
	const n = 1000
	conns := make([]net.Conn, n)
	errs := each(n, func(i int) (err error) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		conns[i], err = l.Dial(ctx, "client", "tcp", vip(l, 80))
		return err
	})
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.Close()
			}
		}
	}()
	if errs != nil {
		t.Fatal(errs)
	}
	var mu sync.Mutex
	seen := map[string]int{}
	errs = each(n, func(i int) error {
		_ = conns[i].SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(conns[i], "GET / HTTP/1.0\r\n\r\n"); err != nil {
			return err
		}
		answer, err := io.ReadAll(conns[i])
		mu.Lock()
		defer mu.Unlock()
		seen[string(answer[max(0, len(answer)-5):])]++
		return err
	})
	if errs != nil {
		t.Fatal(errs)
	}
	if seen["Web1\n"]+seen["Web2\n"] != n || seen["Web1\n"] == 0 || seen["Web2\n"] == 0 {
		t.Errorf("answers: %v", seen)
	}
}

// each calls f n times at once and returns the first errors.
func each(n int, f func(int) error) error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}
	wg.Wait()
	var few []error
	for i, err := range errs {
		if err != nil && len(few) < 5 {
			few = append(few, fmt.Errorf("%d: %w", i, err))
		}
	}
	return errors.Join(few...)
}

// death kills a server. Its share of the connections fails and the others do not; when it is
// started again it gets connections again.
func death(t *testing.T, l *lab.Lab) {
	if err := l.Kill("rs1"); err != nil {
		t.Fatal(err)
	}
	ok, failed := attempts(l, 8, time.Second)
	if ok["Web1"] != 0 || ok["Web2"] == 0 || failed == 0 {
		t.Errorf("with rs1 dead: answers %v, %d failed", ok, failed)
	}
	if err := l.StartServices("rs1"); err != nil {
		t.Fatal(err)
	}
	ok, failed = attempts(l, 8, patience)
	if ok["Web1"] == 0 || ok["Web2"] == 0 || failed != 0 {
		t.Errorf("with rs1 back: answers %v, %d failed", ok, failed)
	}
}

// attempts sends requests that may fail or time out, and counts the answers.
func attempts(l *lab.Lab, n int, wait time.Duration) (ok map[string]int, failed int) {
	ok = map[string]int{}
	client := l.HTTPClient("client")
	client.Timeout = wait
	for range n {
		resp, err := client.Get(url(l, "/"))
		if err != nil {
			failed++
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		ok[strings.TrimSpace(string(body))]++
	}
	return ok, failed
}

// TestTrafficWithoutADirector sends the same traffic to one server through a routing kernel,
// to tell faults of the lab from those of the director.
func TestTrafficWithoutADirector(t *testing.T) {
	for name, o := range map[string]lab.Options{
		"offloads on": {}, "offloads off": {NoOffload: true}, "frames of 9000 bytes": {MTU: 9000},
	} {
		t.Run(name, func(t *testing.T) {
			l := labtest.Start(t, routed(t, o))
			l.Topology.VIP = l.Topology.RealServers()[0].Address()
			t.Run("download", func(t *testing.T) { download(t, l) })
			t.Run("upload", func(t *testing.T) { upload(t, l) })
			t.Run("large datagrams", func(t *testing.T) { largeDatagrams(t, l) })
		})
	}
}
