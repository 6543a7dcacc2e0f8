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

// Demo draws the topology, sends HTTP requests from the client to each virtual address, one connection
// each, and writes which server answered each of them, then the director's listings.
func Demo(l *Lab, w io.Writer) error {
	client, director := l.Topology.Client(), l.Topology.Director()
	if client == nil || director == nil || !l.Topology.VIP.IsValid() {
		return fmt.Errorf("lab: %s has no client, no director or no virtual address to show; say what to run: uvs lab run … -- CMD", l.Topology.Name)
	}
	info, err := l.Info()
	if err != nil {
		return err
	}
	if err := info.Print(w); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s\n", info.Topology.Draw())
	sent, err := l.requests(w, client.Name)
	if err != nil {
		return err
	}
	out, err := l.Exec(director.Name, "ipvsadm", "-Ln")
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s# ipvsadm -Ln\n%s", director.Name, out)
	if out, err = l.Stats(sent); err != nil {
		return err
	}
	fmt.Fprintf(w, "\n%s# ipvsadm -Ln --stats\n%s", director.Name, out)
	return nil
}

// statsWithin is how long counters may take to show in a listing: like the kernel's
// they are updated with the rate estimator, every two seconds.
const statsWithin = 5 * time.Second

// Stats returns the director's listing of counters once all services together show at
// least conns connections, or after a few seconds.
func (l *Lab) Stats(conns int) (string, error) {
	director := l.Topology.Director().Name
	for deadline := time.Now().Add(statsWithin); ; time.Sleep(50 * time.Millisecond) {
		out, err := l.Exec(director, "ipvsadm", "-Ln", "--stats")
		if err != nil || connections(out) >= conns || time.Now().After(deadline) {
			return out, err
		}
	}
}

// connections returns the connections of all services in a listing.
func connections(stats string) (all int) {
	for line := range strings.Lines(stats) {
		f := strings.Fields(line)
		if len(f) == 7 && f[0] != "Prot" && f[0] != "->" {
			n, _ := strconv.Atoi(f[2])
			all += n
		}
	}
	return all
}

// requests has a client ask at each virtual address, writes a line for each request, and
// returns how many there were: at one address demoRequests, at several a share of them.
func (l *Lab) requests(w io.Writer, client string) (sent int, err error) {
	urls := l.Topology.URLs("/")
	for _, url := range urls {
		for range max(demoRequests/len(urls), 2) {
			began := time.Now()
			body, err := l.Get(client, url)
			if err != nil {
				return sent, err
			}
			sent++
			fmt.Fprintf(w, "%s# get %s   → %s   %5.1f ms, request %d\n",
				client, url, strings.TrimSpace(body), float64(time.Since(began).Microseconds())/1000, sent)
		}
	}
	return sent, nil
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
