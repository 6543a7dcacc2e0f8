package control

import (
	"net/http"

	"uvs/forwarder/config"
)

// checkRoutes are the routes about checks.
func (s *Server) checkRoutes() []route {
	const checks = "/v1/services/{service}/checks"
	return []route{
		{"GET /v1/checks", func(*http.Request) (any, error) { return streamOf(s.director.Checks()), nil }},
		{"POST /v1/checks/now", s.checkNow},
		{"POST " + checks, s.addCheck},
		{"POST " + checks + "/delete", s.deleteCheck},
		{"DELETE " + checks, s.deleteChecks},
	}
}

func (s *Server) checkNow(r *http.Request) (any, error) {
	var what config.CheckNow
	if err := decode(r.Body, &what); err != nil {
		return nil, err
	}
	if what.Check != nil {
		if err := what.Check.ValidateOnce(); err != nil {
			return nil, err
		}
	}
	all, err := s.director.CheckNow(r.Context(), what.Service, what.Check)
	if err != nil {
		return nil, err
	}
	return streamOf(all), nil
}

func (s *Server) addCheck(r *http.Request) (any, error) {
	k, c, err := checkOf(r)
	if err != nil {
		return nil, err
	}
	return nil, s.director.AddCheck(k, c)
}

func (s *Server) deleteCheck(r *http.Request) (any, error) {
	k, c, err := checkOf(r)
	if err != nil {
		return nil, err
	}
	return nil, s.director.DeleteCheck(k, &c)
}

func (s *Server) deleteChecks(r *http.Request) (any, error) {
	k, err := keyOf(r)
	if err != nil {
		return nil, err
	}
	return nil, s.director.DeleteCheck(k, nil)
}

// checkOf reads the service and the check in a request.
func checkOf(r *http.Request) (k config.Key, c config.Check, err error) {
	if k, err = keyOf(r); err != nil {
		return k, c, err
	}
	if err = decode(r.Body, &c); err != nil {
		return k, c, err
	}
	return k, c, c.Validate()
}
