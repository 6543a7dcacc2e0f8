package sched

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// An Option sets what a scheduler takes from outside; most need none.
type Option func(*options)

type options struct {
	seed       uint64
	now        func() time.Duration
	expiration time.Duration
	forgotten  *atomic.Uint64
}

func defaults() options {
	start := time.Now()
	return options{
		seed:       rand.Uint64(),
		now:        func() time.Duration { return time.Since(start) },
		expiration: defaultExpiration,
		forgotten:  new(atomic.Uint64),
	}
}

// WithSeed makes the random choices of twos repeatable.
func WithSeed(seed uint64) Option { return func(o *options) { o.seed = seed } }

// WithClock gives lblc and lblcr their time: a monotonic one, since any fixed
// moment. It is called once a pick, so a worker's clock of the current batch
// serves well. Without this option it is the process's clock.
func WithClock(now func() time.Duration) Option { return func(o *options) { o.now = now } }

// WithExpiration sets how long an entry of lblc and lblcr may lie unused before
// a full sweep drops it, and how long lblcr leaves a set of servers unchanged
// before it takes the most loaded one out: sysctl lblc_expiration and
// lblcr_expiration, 24 h by default.
func WithExpiration(d time.Duration) Option { return func(o *options) { o.expiration = d } }

// WithForgotten has lblc and lblcr add to n the addresses they forget because
// they may remember no more. Schedulers may share n.
func WithForgotten(n *atomic.Uint64) Option { return func(o *options) { o.forgotten = n } }

// defaultExpiration is DEFAULT_EXPIRATION of ip_vs_lblc.c and ip_vs_lblcr.c.
const defaultExpiration = 24 * time.Hour
