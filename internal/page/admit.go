package page

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// policy lets the page load what this server has and nothing else, run no script that is
// written into it, and make no HTML out of text.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// admit refuses what no reader of this page would send.
//
// A name that somebody else's DNS leads here (rebinding) is not one of the server's own,
// while an address in the Host header cannot lead elsewhere. A page of another site, which
// for a browser includes other ports of localhost, is known by Origin or Sec-Fetch-Site
// (Fetch Metadata Request Headers, W3C). No cookie is used, so a request that gets through
// carries no right of its own: the token does.
func (s *Server) admit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache")
		switch {
		case !s.ownHost(r.Host):
			fail(w, http.StatusForbidden, "foreign_host", "this server is not called "+r.Host+"; --name adds a name")
		case foreign(r):
			fail(w, http.StatusForbidden, "cross_site", "another site asks; open the address itself")
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			fail(w, http.StatusMethodNotAllowed, "read_only", "this server changes nothing")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// ownHost reports whether the server may be called by what is in the Host header. The port
// does not matter: it may be that of a tunnel.
func (s *Server) ownHost(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return true
	}
	return strings.EqualFold(name, "localhost") ||
		slices.ContainsFunc(s.Hosts, func(own string) bool { return strings.EqualFold(own, name) })
}

// foreign reports whether a browser says that another site's page makes the request.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
	default:
		return true
	}
	origin := r.Header.Get("Origin")
	return origin != "" && origin != "http://"+r.Host && origin != "https://"+r.Host
}

// known hands requests on that carry the token: as a bearer (RFC 6750), as the page sends
// it, or as the parameter token.
func (s *Server) known(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.Token != "" && !s.knows(r) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			fail(w, http.StatusUnauthorized, "token", "the token is missing or wrong")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func (s *Server) knows(r *http.Request) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		given = r.URL.Query().Get("token")
	}
	return subtle.ConstantTimeCompare([]byte(given), []byte(s.Token)) == 1
}
