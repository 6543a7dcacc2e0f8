package lab_test

import (
	"fmt"
	"sync"
	"testing"

	"uvs/lab"
	"uvs/lab/labtest"
)

// Many ipvsadm processes change weights, servers and the scheduler while clients fetch pages.
// Each change leaves a server that answers, so no request may fail.
func TestNoRequestIsLostToChanges(t *testing.T) {
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{RealServers: 3}))
	service := l.Topology.VIP.String() + ":80"
	servers := l.Topology.RealServers()
	var wg sync.WaitGroup
	change := func(words ...string) {
		if out, err := l.Exec("director", append([]string{"ipvsadm"}, words...)...); err != nil {
			t.Errorf("%q: %v %s", words, err, out)
		}
	}
	for i, server := range servers {
		wg.Go(func() {
			for n := range 25 {
				change("-e", "-t", service, "-r", server.Address().String(), "-m", "-w", fmt.Sprint(1+(n+i)%4))
			}
		})
	}
	wg.Go(func() {
		for n := range 25 {
			change("-E", "-t", service, "-s", []string{"rr", "wlc", "sed", "lc"}[n%4])
		}
	})
	wg.Go(func() {
		for range 25 { // a server that is no use to anybody
			change("-a", "-t", service, "-r", "192.168.166.200", "-m", "-w", "0")
			change("-d", "-t", service, "-r", "192.168.166.200")
		}
	})
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	requests := 0
	for busy := true; busy; {
		select {
		case <-done:
			busy = false
		default:
		}
		if _, failed := attempts(l, 5, patience); failed != 0 {
			t.Errorf("%d of 5 requests failed after %d good ones", failed, requests)
			<-done
			return
		}
		requests += 5
	}
	if requests < 20 {
		t.Errorf("only %d requests among the changes", requests)
	}
}
