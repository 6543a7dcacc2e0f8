package control

import (
	"net/http"
	"slices"
	"strconv"

	"uvs/forwarder/config"
)

// most servers, and services, that a summary has.
const mostSummarized = 1000

var summarySorts = []string{"added", "connections", "rate", "weight", "load", "actual"}

func (s *Server) summary(r *http.Request) (any, error) {
	q := config.SummaryQuery{Services: 5, Servers: 20, Sort: summarySorts[0]}
	for name, value := range map[string]*int{"services": &q.Services, "servers": &q.Servers} {
		text := r.URL.Query().Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > mostSummarized {
			return nil, &config.FieldError{Field: name, Problem: "it is a number from 0 to 1000"}
		}
		*value = n
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
	summary := s.director.Summary(q)
	if !mayWrite(r.Context()) {
		summary.Decisions = []config.Decision{}
	}
	return summary, nil
}
