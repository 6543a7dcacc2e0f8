package top

import (
	"context"
	"slices"
	"time"

	"uvs/forwarder/config"
)

// sorts are the orders of servers, in turn.
var sorts = []string{"added", "connections", "rate", "weight", "load", "actual"}

// mostListed is how many services a page lists.
const mostListed = 100

// mostServers is how many servers a director lists at once.
const mostServers = 1000

// mostDecisions is how many decisions a page remembers; it shows those it has room for.
const mostDecisions = 64

// remembered is how many moments a service's sparkline goes back: two minutes.
const remembered = 120

// model is the page in the terminal.
type model struct {
	ctx      context.Context
	director Director
	every    time.Duration

	width, height int
	now           *Moment // that is shown; nil: none yet
	latest        *Moment // that was received; while paused it is not shown
	err           error   // of the last attempt
	history       map[config.Key][]uint64
	dropped       map[string]float64 // in all, since the page was opened

	selected config.Key
	scroll   int // servers of the selected service
	sort     int
	paused   bool
	help     bool
}

func newModel(ctx context.Context, d Director, every time.Duration) *model {
	return &model{ctx: ctx, director: d, every: every, width: 80, height: 24,
		history: map[config.Key][]uint64{}, dropped: map[string]float64{}}
}

// query asks for as many servers as the page has room for, and so many before and after
// them for the keys that scroll.
func (m *model) query() config.SummaryQuery {
	q := config.SummaryQuery{Services: mostListed, First: max(0, m.scroll-m.height), Servers: min(3*m.height, mostServers), Sort: sorts[m.sort]}
	if m.selected != (config.Key{}) {
		k := m.selected
		q.Service = &k
	}
	return q
}

// answered takes what the director said.
func (m *model) answered(a answer) {
	if m.err = a.err; a.err == nil {
		m.take(a.moment)
	}
}

// take makes a moment the present one.
func (m *model) take(now *Moment) {
	seen := map[config.Key]bool{}
	for _, s := range now.Services {
		seen[s.Service] = true
		h := append(m.history[s.Service], s.Stats.CPS)
		m.history[s.Service] = h[max(0, len(h)-remembered):]
	}
	for k := range m.history {
		if !seen[k] {
			delete(m.history, k)
		}
	}
	for name, rate := range now.Drops {
		m.dropped[name] += rate * now.Time.Sub(m.latest.Time).Seconds()
	}
	if m.latest != nil {
		all := slices.Concat(m.latest.Decisions, now.Decisions)
		now.Decisions = all[max(0, len(all)-mostDecisions):]
	}
	m.latest = now
	if m.paused {
		return
	}
	m.now = now
	if !seen[m.selected] && len(now.Services) > 0 {
		m.selected, m.scroll = now.Services[0].Service, 0
	}
	if s := m.service(); s != nil {
		m.scroll = min(m.scroll, max(0, len(s.Servers)+s.Others-1))
	}
}

// press does what a key says, and reports whether the user quits.
func (m *model) press(key string) (quit bool) {
	switch key {
	case "q", "ctrl+c", "esc":
		return true
	case "s":
		m.sort = (m.sort + 1) % len(sorts)
	case "p", "space":
		m.paused = !m.paused
	case "?", "h":
		m.help = !m.help
	case "up":
		m.choose(-1)
	case "down", "tab":
		m.choose(+1)
	case "k", "pgup":
		m.scroll = max(0, m.scroll-m.page(key))
	case "j", "pgdown":
		if s := m.service(); s != nil {
			m.scroll = min(m.scroll+m.page(key), max(0, len(s.Servers)+s.Others-1))
		}
	}
	return false
}

func (m *model) page(key string) int {
	if len(key) == 1 {
		return 1
	}
	return m.height / 2
}

// choose selects the service so many further down, around the end.
func (m *model) choose(by int) {
	if m.now == nil || len(m.now.Services) == 0 {
		return
	}
	n := len(m.now.Services)
	for i, s := range m.now.Services {
		if s.Service == m.selected {
			m.selected, m.scroll = m.now.Services[(i+by+n)%n].Service, 0
			return
		}
	}
}

// service returns the selected one; nil if there is none.
func (m *model) service() *config.ServiceSummary {
	if m.now == nil {
		return nil
	}
	for i := range m.now.Services {
		if m.now.Services[i].Service == m.selected {
			return &m.now.Services[i]
		}
	}
	return nil
}
