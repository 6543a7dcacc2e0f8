package control

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"uvs/forwarder/config"
	"uvs/internal/control/controltest"
)

// summarized is a director that remembers the last query for a summary.
type summarized struct {
	*controltest.Director
	mu    sync.Mutex
	query config.SummaryQuery
}

func (d *summarized) Summary(q config.SummaryQuery) config.Summary {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.query = q
	return d.Director.Summary(q)
}

func TestASummaryIsAskedFor(t *testing.T) {
	for _, tt := range []struct {
		what    string
		trusted bool
		query   string
		want    config.SummaryQuery
		field   string // refused for it
	}{
		{"by the director's user", true, "", config.SummaryQuery{Services: 5, Servers: 20, Sort: "added", Decisions: true}, ""},
		{"by another user, who has no decisions recorded", false, "", config.SummaryQuery{Services: 5, Servers: 20, Sort: "added"}, ""},
		{"in full", true, "?services=1&first=9000&servers=1000&sort=load&after=7",
			config.SummaryQuery{Services: 1, First: 9000, Servers: 1000, Sort: "load", After: 7, Decisions: true}, ""},
		{"for too many servers", true, "?servers=1001", config.SummaryQuery{}, "servers"},
		{"for servers before the first", true, "?first=-1", config.SummaryQuery{}, "first"},
		{"after no number", true, "?after=-1", config.SummaryQuery{}, "after"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			d := &summarized{Director: controltest.New()}
			socket := serveDirectorBehind(t, d, func(int) bool { return tt.trusted })
			status, text := ask(t, socket, "GET", "/v1/summary"+tt.query, "")
			if tt.field != "" {
				if status != http.StatusBadRequest || !strings.Contains(text, `"field":"`+tt.field+`"`) {
					t.Errorf("%d %s", status, text)
				}
				return
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			if diff := cmp.Diff(tt.want, d.query); status != http.StatusOK || diff != "" {
				t.Errorf("%d\n%s", status, diff)
			}
		})
	}
}
