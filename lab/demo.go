package lab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// demoRequests is a whole number of rounds for two, four and eight servers, and
// for the weights 2 and 6.
const demoRequests = 8

// Demo draws the topology, sends HTTP requests from the client to the VIP, one connection each, and writes
// which server answered each of them, then the director's listings.
func Demo(l *Lab, w io.Writer) error {
	info, err := l.Info()
	if err != nil {
		return err
	}
	if err := info.Print(w); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s\n", info.Topology.Draw())
	if err := l.requests(w, demoRequests); err != nil {
		return err
	}
	out, err := l.Exec("director", "ipvsadm", "-Ln")
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\ndirector# ipvsadm -Ln\n%s", out)
	if out, err = l.Stats(demoRequests); err != nil {
		return err
	}
	fmt.Fprintf(w, "\ndirector# ipvsadm -Ln --stats\n%s", out)
	return nil
}

// statsWithin is how long counters may take to show in a listing: like the kernel's
// they are updated with the rate estimator, every two seconds.
const statsWithin = 5 * time.Second

// Stats returns the director's listing of counters once the first service shows at
// least conns connections, or after a few seconds.
func (l *Lab) Stats(conns int) (string, error) {
	for deadline := time.Now().Add(statsWithin); ; time.Sleep(50 * time.Millisecond) {
		out, err := l.Exec("director", "ipvsadm", "-Ln", "--stats")
		if err != nil || connections(out) >= conns || time.Now().After(deadline) {
			return out, err
		}
	}
}

// connections returns the connections of the first service in a listing.
func connections(stats string) int {
	for line := range strings.Lines(stats) {
		f := strings.Fields(line)
		if len(f) == 7 && f[0] != "Prot" && f[0] != "->" {
			n, _ := strconv.Atoi(f[2])
			return n
		}
	}
	return 0
}

// requests sends n requests and writes a line for each.
func (l *Lab) requests(w io.Writer, n int) error {
	url := l.Topology.URL("/")
	for i := range n {
		began := time.Now()
		body, err := l.Get("client", url)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "client# get %s   → %s   %5.1f ms, request %d\n",
			url, strings.TrimSpace(body), float64(time.Since(began).Microseconds())/1000, i+1)
	}
	return nil
}

// Get fetches a URL from a node over a connection of its own.
func (l *Lab) Get(node, url string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return l.fetch(ctx, node, url)
}

// HTTPClient returns a client whose requests come from a node, each over a connection
// of its own.
func (l *Lab) HTTPClient(node string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: l.DialContext(node), DisableKeepAlives: true, DisableCompression: true,
	}}
}
