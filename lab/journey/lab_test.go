package journey_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"uvs/lab"
	"uvs/lab/capture"
	"uvs/lab/journey"
	"uvs/lab/labtest"
)

// The drawing of a lab says which way a request and its answer take; the packets take it.
func TestPacketsTakeTheWayThatIsDrawn(t *testing.T) {
	for _, topology := range []string{"nat", "dr-gateway", "tun", "fullnat6", "dr6"} {
		t.Run(topology, func(t *testing.T) {
			t.Parallel()
			l := labtest.Start(t, labtest.Build(t, topology, lab.Options{RealServers: 1}))
			way := l.Topology.Ways()[0]
			request, answer := strings.Join(way.Request, " "), strings.Join(way.Answer, " ")
			watch(t, l, func(j *journey.Journey) bool {
				path := strings.Join(j.Way, " ")
				switch {
				case strings.HasSuffix(j.Packet, " SYN") && path != request:
					t.Errorf("a SYN went %s, not %s", path, request)
				case strings.HasSuffix(j.Packet, " SYN,ACK") && path != answer:
					t.Errorf("its answer went %s, not %s", path, answer)
				case strings.HasPrefix(j.Packet, "tcp") && j.Connection != 1 || j.Lost != "":
					t.Errorf("connection %d, lost on the way to %q: %s", j.Connection, j.Lost, j.Packet)
				}
				return strings.Contains(j.Packet, "FIN") && j.Way[0] == "client"
			})
		})
	}
}

// watch has the client make a request, and calls f with each journey until it has seen the
// last.
func watch(t *testing.T, l *lab.Lab, f func(*journey.Journey) (last bool)) {
	t.Helper()
	taps, err := capture.Open(l, capture.Links(&l.Topology), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer taps.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	asked := make(chan error, 1)
	go func() {
		_, err := l.Get("client", l.Topology.URL("/"))
		asked <- err
	}()
	seen, tracker := false, journey.NewTracker(&l.Topology, nil, false)
	tracker.Slowest(time.Minute) // the machine may stand still
	err = taps.Run(ctx, 20*time.Millisecond, func(frames []capture.Frame, until time.Time) error {
		for _, j := range tracker.Frames(frames, until) {
			if f(j) {
				seen = true
				cancel()
			}
		}
		return nil
	})
	if err != nil || !seen {
		t.Errorf("the end was not seen: %v", err)
	}
	if err := <-asked; err != nil {
		t.Error(err)
	}
}
