package control

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"uvs/forwarder/config"
	"uvs/internal/events"
)

// maxBody is the largest request in bytes: some 200,000 commands.
const maxBody = 64 << 20

// Bounds of a connection. A client closes an idle connection itself after a minute (package
// client). A user who may not write has to read an answer within unprivilegedTime, and
// unprivilegedAnswers are written at a time, because a list takes memory until it is read.
// Users who may write have no limit, for example for ipvsadm in a pager.
const (
	maxHeader           = 16 << 10 // bytes
	headerTime          = 10 * time.Second
	requestTime         = time.Minute // header and body
	idleTime            = 2 * time.Minute
	unprivilegedTime    = 30 * time.Second
	unprivilegedAnswers = 4
	reclaimEvery        = time.Second
)

// Server serves the control API of one director.
type Server struct {
	director    Director
	about       config.About
	log         *slog.Logger
	http        http.Server
	answerSlots chan struct{} // one for each answer to a stranger
	successor   handOver      // nil: the director cannot be replaced
	ring        *events.Ring  // of what Events tells
	keepAlive   time.Duration // between the comments of its streams
	closed      chan struct{}
	closing     sync.Once

	// The director is used under using, which is locked for good at the end.
	using sync.RWMutex
	ended sync.Once
	ctx   context.Context // of all requests
	end   context.CancelFunc
}

// NewServer returns a server for d that introduces itself with about.
func NewServer(d Director, about config.About, log *slog.Logger) *Server {
	s := &Server{director: d, about: about, log: log, answerSlots: make(chan struct{}, unprivilegedAnswers), closed: make(chan struct{}),
		ring: events.New(), keepAlive: keepAliveEvery}
	s.about.API = Version
	s.ctx, s.end = context.WithCancel(context.Background())
	s.http = http.Server{
		Handler:           s.handler(),
		BaseContext:       func(net.Listener) context.Context { return s.ctx },
		ConnContext:       withPeer,
		ReadHeaderTimeout: headerTime,
		ReadTimeout:       requestTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn), // a panic of ours, above all
	}
	return s
}

// Serve answers on l until Close, and returns nil then.
func (s *Server) Serve(l *Listener) error {
	l.own()
	g := newLimitListener(l.Listener)
	if l.Missing != "" {
		s.log.Warn("somebody has taken the control socket's name; clients find the director under its second name",
			"event", "control-name-taken", "name", l.Missing, "holder", l.Holder.String(), "second", l.Addr().String())
		go s.reclaim(l, g)
	}
	if err := s.http.Serve(g); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// reclaim binds the listener's missing name when it is free, and serves there as well.
func (s *Server) reclaim(l *Listener, g *limitListener) {
	ticker := time.NewTicker(reclaimEvery)
	defer ticker.Stop()
	for {
		select {
		case <-s.closed:
			return
		case <-ticker.C:
		}
		named, err := net.Listen("unix", l.Missing)
		if err != nil {
			continue
		}
		s.log.Info("control socket: the name is free again", "event", "control-name-free", "name", l.Missing)
		_ = s.http.Serve(g.share(named)) // until Close
		return
	}
}

// Close closes the listeners and the connections, and waits for what is being done for them:
// the director is not used any longer.
func (s *Server) Close() error {
	s.closing.Do(func() { close(s.closed) })
	s.end()
	err := s.http.Close()
	s.ended.Do(s.using.Lock)
	return err
}

// handler returns the handler of all routes.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.Handle(r.pattern, s.serve(r))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusNotFound, &config.Problem{Code: "no_such_path", Message: "there is no " + r.Method + " " + r.URL.Path})
	})
	return mux
}

// serve wraps a route's function: it checks who may write, bounds the body, and writes the
// result or the error.
func (s *Server) serve(route route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.using.TryRLock() {
			s.fail(w, r, http.StatusServiceUnavailable, busy("the director ends"))
			return
		}
		defer s.using.RUnlock()
		if r.Method != http.MethodGet && !mayWrite(r.Context()) {
			s.refuse(w, r, config.ErrRefused)
			return
		}
		leave := func() {}
		if !mayWrite(r.Context()) {
			var err error
			if leave, err = s.takeSlot(w, r); err != nil {
				s.fail(w, r, http.StatusServiceUnavailable, busy(err.Error()))
				return
			}
			leave = sync.OnceFunc(leave)
			defer leave()
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		result, err := route.do(r)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		switch result := result.(type) {
		case eventStream: // takes no memory until it is read, so it leaves its slot to others
			leave()
			s.tell(w, r, result)
			return
		case stream:
			s.list(w, r, result)
			return
		case liveStream:
			s.follow(w, r, result)
			return
		case handOver:
			s.handOver(w, r, result)
			return
		}
		s.answer(w, r, http.StatusOK, result)
	})
}

// takeSlot waits until a stranger's answer may be made, which he has to read in
// time.
func (s *Server) takeSlot(w http.ResponseWriter, r *http.Request) (leave func(), err error) {
	end := time.Now().Add(unprivilegedTime)
	_ = http.NewResponseController(w).SetWriteDeadline(end)
	wait := time.NewTimer(unprivilegedTime / 2)
	defer wait.Stop()
	select {
	case s.answerSlots <- struct{}{}:
		return func() { <-s.answerSlots }, nil
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-wait.C:
		return nil, errors.New("other plain users read the director's answers, slowly")
	}
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	s.fail(w, r, statusOf(err), config.ProblemOf(err))
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, status int, p *config.Problem) {
	s.answer(w, r, status, failure{p})
}

// failure is the body of an answer with an error.
type failure struct {
	Error *config.Problem `json:"error"`
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, status int, body any) {
	if body == nil {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(body); err != nil {
		s.log.Debug("control: answer not sent", "path", r.URL.Path, "error", err)
	}
}

// statusOf returns the HTTP status that fits an error best.
func statusOf(err error) int {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge
	case is(err, config.ErrNoSuchService, config.ErrNoSuchServer, config.ErrNoSuchLocal, config.ErrNoSuchMark, config.ErrNoSuchCheck, config.ErrNoDaemon, config.ErrNoTrace):
		return http.StatusNotFound
	case is(err, config.ErrServiceExists, config.ErrServerExists, config.ErrLocalExists, config.ErrDaemonExists, config.ErrCheckExists):
		return http.StatusConflict
	case is(err, config.ErrInvalid, config.ErrRange, config.ErrNoScheduler, config.ErrNoDevice, config.ErrSynProxy):
		return http.StatusBadRequest
	case is(err, config.ErrRefused):
		return http.StatusForbidden
	}
	return http.StatusInternalServerError
}

func is(err error, targets ...error) bool {
	for _, target := range targets {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}
