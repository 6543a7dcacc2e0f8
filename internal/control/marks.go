package control

import (
	"net/http"

	"uvs/forwarder/config"
)

func (s *Server) setMarks(r *http.Request) (any, error) {
	var rules []config.MarkRule
	if err := decode(r.Body, &rules); err != nil {
		return nil, err
	}
	return nil, s.director.SetMarks(rules)
}

func (s *Server) addMark(r *http.Request) (any, error) { return mark(r, s.director.AddMark) }

func (s *Server) deleteMark(r *http.Request) (any, error) { return mark(r, s.director.DeleteMark) }

func mark(r *http.Request, do func(config.MarkRule) error) (any, error) {
	var rule config.MarkRule
	if err := decode(r.Body, &rule); err != nil {
		return nil, err
	}
	return nil, do(rule)
}

func (s *Server) setSysctl(r *http.Request) (any, error) {
	var c config.Sysctl
	if err := decode(r.Body, &c); err != nil {
		return nil, err
	}
	name := r.PathValue("name")
	if c.Name != "" && c.Name != name {
		return nil, &config.FieldError{Field: "name", Problem: "path and body name different settings"}
	}
	return nil, s.director.SetSysctl(name, c.Value)
}
