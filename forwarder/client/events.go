package client

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"time"

	"uvs/forwarder/config"
)

// EventsQuery says which events a client wants.
type EventsQuery struct {
	After  string    // ID of the event that they follow; empty: all that the director remembers
	Since  time.Time // only from this time on
	Follow bool      // wait for further ones
}

// maxEvent is the largest event in bytes.
const maxEvent = 1 << 20

// Events returns what happened to the director, as it comes. With Follow it goes on until the
// context or the director ends. An error ends it.
func (c *Client) Events(ctx context.Context, q EventsQuery) iter.Seq2[config.Event, error] {
	return func(yield func(config.Event, error) bool) {
		values := url.Values{"follow": {fmt.Sprint(q.Follow)}}
		if !q.Since.IsZero() {
			values.Set("since", q.Since.UTC().Format(time.RFC3339Nano))
		}
		answer, err := c.sendWith(ctx, "GET", "/v1/events?"+values.Encode(), nil, http.Header{"Last-Event-Id": {q.After}})
		if err != nil {
			yield(config.Event{}, err)
			return
		}
		defer answer.Body.Close() // and with it the stream
		lines := bufio.NewScanner(answer.Body)
		lines.Buffer(nil, maxEvent)
		for lines.Scan() {
			text, ok := strings.CutPrefix(lines.Text(), "data: ")
			if !ok {
				continue
			}
			var e config.Event
			err := json.Unmarshal([]byte(text), &e)
			if !yield(e, err) || err != nil {
				return
			}
		}
		if err := lines.Err(); err != nil && ctx.Err() == nil && !q.Follow {
			yield(config.Event{}, fmt.Errorf("client: read events: %w", err))
		}
	}
}
