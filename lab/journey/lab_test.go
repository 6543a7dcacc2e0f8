package journey_test

import (
	"context"
	"errors"
	"fmt"
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
			// A busy machine may hold a frame between its time and its queue for longer than
			// the capture waits for it: then a journey is told in two pieces.
			var err error
			for range 3 {
				if err = watch(t, l); err == nil {
					return
				}
				t.Log(err)
			}
			t.Error(err)
		})
	}
}

// judge says what is wrong with a journey of the first connection, and whether it is the last.
func judge(way lab.Way, j *journey.Journey) (last bool, err error) {
	request, answer, path := strings.Join(way.Request, " "), strings.Join(way.Answer, " "), strings.Join(j.Way, " ")
	switch {
	case strings.HasSuffix(j.Packet, " SYN") && path != request:
		return true, fmt.Errorf("a SYN went %s, not %s", path, request)
	case strings.HasSuffix(j.Packet, " SYN,ACK") && path != answer:
		return true, fmt.Errorf("its answer went %s, not %s", path, answer)
	case strings.HasPrefix(j.Packet, "tcp") && j.Connection != 1 || j.Lost != "":
		return true, fmt.Errorf("connection %d, lost on the way to %q: %s", j.Connection, j.Lost, j.Packet)
	}
	return strings.Contains(j.Packet, "FIN") && j.Way[0] == "client", nil
}

// watch has the client make a request, and says what is wrong with the way of its packets.
func watch(t *testing.T, l *lab.Lab) error {
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
			last, err := judge(l.Topology.Ways()[0], j)
			if err != nil {
				return err
			}
			if last {
				seen = true
				cancel()
			}
		}
		return nil
	})
	if err == nil && !seen {
		err = errors.New("the end was not seen")
	}
	return errors.Join(err, <-asked)
}
