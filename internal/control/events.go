package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"uvs/forwarder/config"
	"uvs/internal/events"
)

// Bounds of a stream of events. The comments keep it open through what closes connections
// that are silent, and find readers that are gone.
const (
	keepAliveEvery = 15 * time.Second
	eventTime      = 10 * time.Second // to read an event, and what came before
)

// eventStream is what a request for events wants.
type eventStream struct {
	after  events.Position
	since  time.Time
	follow bool
}

// Events has the server tell what a Ring remembers, before Serve.
func (s *Server) Events(r *events.Ring) { s.ring = r }

func (s *Server) events(r *http.Request) (any, error) {
	e := eventStream{follow: true, after: s.ring.Position(r.Header.Get("Last-Event-ID"))}
	query := r.URL.Query()
	var err error
	if text := query.Get("follow"); text != "" {
		if e.follow, err = strconv.ParseBool(text); err != nil {
			return nil, &config.FieldError{Field: "follow", Problem: "it is true or false"}
		}
	}
	if text := query.Get("since"); text != "" {
		if e.since, err = time.Parse(time.RFC3339, text); err != nil {
			return nil, &config.FieldError{Field: "since", Problem: "it is a time such as 2026-01-31T12:00:00Z"}
		}
	}
	return e, nil
}

// tell writes events as server-sent ones (the HTML standard, section 9.2) until the reader,
// the director's successor or the server ends it.
func (s *Server) tell(w http.ResponseWriter, r *http.Request, e eventStream) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no")
	out := http.NewResponseController(w)
	_ = out.SetReadDeadline(time.Time{}) // that of the request would end the stream
	silence := time.NewTicker(s.keepAlive)
	defer silence.Stop()
	for {
		list, next, missed, more := s.ring.After(e.after)
		_ = out.SetWriteDeadline(time.Now().Add(eventTime))
		if writeEvents(w, list, missed, e.since) != nil || out.Flush() != nil {
			if r.Context().Err() == nil { // a reader that is still there, but takes nothing
				s.ring.Missed(uint64(len(list)))
			}
			return
		}
		s.ring.Missed(missed)
		if e.after = next; !e.follow {
			return
		}
		select {
		case <-more:
		case <-silence.C:
			fmt.Fprint(w, ":\n\n") // a failure shows with the next event or comment
		case <-s.closed:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// writeEvents writes events that happened at a time or later, and before them that some are
// missing.
func writeEvents(w http.ResponseWriter, list []config.Event, missed uint64, since time.Time) error {
	if missed > 0 {
		list = append([]config.Event{{
			Time: time.Now().UTC(), Level: "warn", Name: config.EventsMissed, Message: "events were forgotten before this reader took them",
			Attributes: map[string]any{"events": missed},
		}}, list...)
	}
	for i := range list {
		e := &list[i]
		if e.Time.Before(since) {
			continue
		}
		text, err := json.Marshal(e)
		if err != nil {
			return err
		}
		if e.ID != "" {
			fmt.Fprintf(w, "id: %s\n", e.ID)
		}
		if _, err := fmt.Fprintf(w, "event: %s\ndata: %s\n\n", e.Name, text); err != nil {
			return err
		}
	}
	return nil
}
