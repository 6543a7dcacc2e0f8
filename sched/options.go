package sched

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Options are what a scheduler needs from its caller; most need nothing. New sets
// defaults for what no Option sets.
type Options struct {
	// Seed makes random choices, such as those of twos, repeatable.
	Seed uint64
	// Clock returns the time since any fixed moment. It never goes backwards.
	Clock func() time.Duration
	// Expiration returns how long an entry of lblc and lblcr may be unused before a
	// full sweep drops it, and how long lblcr's set of servers may stay unchanged
	// before the most loaded one leaves it. It is called at each such decision.
	Expiration func() time.Duration
	// Forgotten counts the addresses that lblc and lblcr drop because their caches
	// are bounded. Schedulers may share it.
	Forgotten *atomic.Uint64
}

// An Option sets one of the Options.
type Option func(*Options)

func defaults() Options {
	start := time.Now()
	return Options{
		Seed:       rand.Uint64(),
		Clock:      func() time.Duration { return time.Since(start) },
		Expiration: func() time.Duration { return defaultExpiration },
		Forgotten:  new(atomic.Uint64),
	}
}

// WithSeed sets Options.Seed. Without it each scheduler has a seed of its own.
func WithSeed(seed uint64) Option { return func(o *Options) { o.Seed = seed } }

// WithClock sets Options.Clock. It is called once a pick; a clock that a worker
// reads once a batch is good enough. The default is the process's clock.
func WithClock(now func() time.Duration) Option { return func(o *Options) { o.Clock = now } }

// WithExpiration sets Options.Expiration: sysctl lblc_expiration and
// lblcr_expiration. The default is 24 h.
func WithExpiration(d func() time.Duration) Option { return func(o *Options) { o.Expiration = d } }

// WithForgotten sets Options.Forgotten.
func WithForgotten(n *atomic.Uint64) Option { return func(o *Options) { o.Forgotten = n } }

// defaultExpiration is DEFAULT_EXPIRATION of ip_vs_lblc.c and ip_vs_lblcr.c.
const defaultExpiration = 24 * time.Hour
