package lab

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"
)

// demoRequests is a whole number of rounds for two, four and eight servers, and
// for the weights 2 and 6.
const demoRequests = 8

// Demo sends HTTP requests from the client to the VIP, one connection each,
// writes which server answered each of them, and then the director's listings.
func Demo(l *Lab, w io.Writer) error {
	info, err := l.Info()
	if err != nil {
		return err
	}
	if err := info.Print(w); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if err := l.requests(w, demoRequests); err != nil {
		return err
	}
	for _, argv := range [][]string{{"ipvsadm", "-Ln"}, {"ipvsadm", "-Ln", "--stats"}} {
		out, err := l.Exec("director", argv...)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "\ndirector# %s\n%s", strings.Join(argv, " "), out)
	}
	return nil
}

// requests sends n requests and writes a line for each.
func (l *Lab) requests(w io.Writer, n int) error {
	url := "http://" + l.Topology.VIP.String() + "/"
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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	resp, err := l.HTTPClient(node).Do(req)
	if err != nil {
		return "", fmt.Errorf("lab: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("lab: %s: %s", url, resp.Status)
	}
	return string(body), err
}

// HTTPClient returns a client that speaks from a node and opens a connection
// for every request.
func (l *Lab) HTTPClient(node string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: l.DialContext(node), DisableKeepAlives: true, DisableCompression: true,
	}}
}
