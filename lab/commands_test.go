package lab_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"uvs/lab"
	"uvs/lab/labtest"
)

// TestCommandsAtOnce runs many ipvsadm processes at once while requests are served. Each adds
// and removes services of its own, and all try to add one that only the first can.
func TestCommandsAtOnce(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{}))
	stop := make(chan struct{})
	ended := make(chan int)
	go func() {
		failures := 0
		for {
			select {
			case <-stop:
				ended <- failures
				return
			default:
				_, failed := attempts(l, 1, patience)
				failures += failed
			}
		}
	}()
	const n = 40
	var first atomic.Int32
	err := each(n, func(i int) error {
		if _, err := l.Exec("director", "ipvsadm", "-A", "-t", "10.10.0.1:80", "-s", "rr"); err == nil {
			first.Add(1)
		}
		return changes(l, i)
	})
	close(stop)
	if failures := <-ended; failures > 0 {
		t.Errorf("%d requests failed meanwhile", failures)
	}
	if err != nil {
		t.Fatal(err)
	}
	if got := first.Load(); got != 1 {
		t.Errorf("%d commands added the same service", got)
	}
	out := labtest.Exec(t, l, "director", "ipvsadm", "-Ln")
	if got, want := strings.Count(out, "10.9.0."), n/2; got != want {
		t.Errorf("%d of the services stayed, want %d", got, want)
	}
	// The two of the lab, and one of each service that stayed.
	if got, want := strings.Count(out, "  -> 1"), 2+n/2; got != want || strings.Contains(out, "10.8.0.") {
		t.Errorf("%d servers are listed, want %d:\n%s", got, want, out)
	}
}

// changes adds a service with two servers, removes one of them, and every second time the
// service too.
func changes(l *lab.Lab, i int) error {
	own := fmt.Sprintf("10.9.0.%d:80", i+1)
	lines := []string{
		"-A -t " + own + " -s wlc",
		"-a -t " + own + " -r 192.168.166.129 -m",
		"-a -t " + own + " -r 192.168.166.131 -g",
		fmt.Sprintf("-a -t 172.16.253.63:80 -r 10.8.0.%d:80 -m -w 0", i+1),
		fmt.Sprintf("-d -t 172.16.253.63:80 -r 10.8.0.%d:80", i+1),
		"-d -t " + own + " -r 192.168.166.129",
	}
	if i%2 == 1 {
		lines = append(lines, "-D -t "+own)
	}
	for _, line := range lines {
		if _, err := l.Exec("director", append([]string{"ipvsadm"}, strings.Fields(line)...)...); err != nil {
			return err
		}
	}
	return nil
}
