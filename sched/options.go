package sched

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// Options are what a scheduler takes from outside; most need none. New fills in
// what no Option sets.
type Options struct {
	// Seed makes random choices, as those of twos, repeatable.
	Seed uint64
	// Clock tells the time since any fixed moment. It never goes backwards.
	Clock func() time.Duration
	// Expiration tells how long an entry of lblc and lblcr may lie unused before a
	// full sweep drops it, and how long lblcr leaves a set of servers unchanged
	// before it takes the most loaded one out. It is asked whenever that is due.
	Expiration func() time.Duration
	// Forgotten counts the addresses that lblc and lblcr forget because they may
	// remember no more. Schedulers may share it.
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

// WithClock sets Options.Clock. It is called once a pick, so a worker's clock of
// the current batch serves well. Without it the process's clock is taken.
func WithClock(now func() time.Duration) Option { return func(o *Options) { o.Clock = now } }

// WithExpiration sets Options.Expiration: sysctl lblc_expiration and
// lblcr_expiration. Without it an entry lives 24 h.
func WithExpiration(d func() time.Duration) Option { return func(o *Options) { o.Expiration = d } }

// WithForgotten sets Options.Forgotten.
func WithForgotten(n *atomic.Uint64) Option { return func(o *Options) { o.Forgotten = n } }

// defaultExpiration is DEFAULT_EXPIRATION of ip_vs_lblc.c and ip_vs_lblcr.c.
const defaultExpiration = 24 * time.Hour
