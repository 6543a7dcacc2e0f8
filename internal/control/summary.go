package control

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"uvs/forwarder/config"
)

// most servers, and services, that a summary has.
const mostSummarized = 1000

var summarySorts = []string{"added", "connections", "rate", "weight", "load", "actual"}

func (s *Server) summary(r *http.Request) (any, error) {
	q := config.SummaryQuery{Services: 5, Servers: 20, Sort: summarySorts[0], Decisions: mayWrite(r.Context())}
	if err := summaryNumbers(r.URL.Query(), &q); err != nil {
		return nil, err
	}
	if text := r.URL.Query().Get("service"); text != "" {
		k, err := config.ParseKey(text)
		if err != nil {
			return nil, err
		}
		q.Service = &k
	}
	if text := r.URL.Query().Get("sort"); text != "" {
		if !slices.Contains(summarySorts, text) {
			return nil, &config.FieldError{Field: "sort", Problem: "it is added, connections, rate, weight, load or actual"}
		}
		q.Sort = text
	}
	return s.director.Summary(q), nil
}

// summaryNumbers reads the numbers of a query.
func summaryNumbers(query url.Values, q *config.SummaryQuery) error {
	for _, p := range []struct {
		name  string
		value *int
		most  int
	}{{"services", &q.Services, mostSummarized}, {"servers", &q.Servers, mostSummarized}, {"first", &q.First, math.MaxInt32}} {
		text := query.Get(p.name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > p.most {
			return &config.FieldError{Field: p.name, Problem: fmt.Sprintf("it is a number from 0 to %d", p.most)}
		}
		*p.value = n
	}
	if text := query.Get("after"); text != "" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			return &config.FieldError{Field: "after", Problem: "it is the number of a decision"}
		}
		q.After = n
	}
	return nil
}
