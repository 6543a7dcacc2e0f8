package bench

import (
	"math"
	"math/rand/v2"
	"slices"
)

// promise is what a scheduler does with connections that all last.
type promise struct {
	shares func(weights []int32, n int) []float64 // of n connections, by server
	key    key
	hashed bool // chance decides where a key goes
}

// key is what a scheduler knows the clients' connections by.
type key int

const (
	noKey      key = iota // each connection by itself
	clientKey             // the client's address
	addressKey            // the address that is asked for
)

// promises are those of the schedulers that do not share out every connection by
// weight. The ones that heed no weights promise the same to all servers that can take
// connections.
var promises = map[string]promise{
	"rr":    {shares: byEqualWeights},
	"lc":    {shares: byEqualWeights},
	"fo":    {shares: toHeaviest},
	"ovf":   {shares: filled},
	"sh":    {shares: proportional, key: clientKey, hashed: true},
	"mh":    {shares: proportional, key: clientKey, hashed: true},
	"dh":    {shares: byEqualWeights, key: addressKey, hashed: true},
	"lblc":  {shares: proportional, key: addressKey},
	"lblcr": {shares: proportional, key: addressKey},
}

func promiseOf(scheduler string) promise {
	if p, ok := promises[scheduler]; ok {
		return p
	}
	return promise{shares: proportional}
}

// ideal returns how many of n connections that all last each server should have by
// what its scheduler promises.
func ideal(scheduler string, weights []int32, n int) []float64 {
	return promiseOf(scheduler).shares(weights, n)
}

func byEqualWeights(weights []int32, n int) []float64 { return proportional(equalWeights(weights), n) }
func toHeaviest(weights []int32, n int) []float64     { return proportional(heaviest(weights), n) }

// equalWeights gives every server that has a weight the weight 1.
func equalWeights(weights []int32) []int32 {
	all := make([]int32, len(weights))
	for i, w := range weights {
		all[i] = min(w, 1)
	}
	return all
}

// heaviest leaves only the server of the highest weight, which of several is the
// one that was added last.
func heaviest(weights []int32) []int32 {
	all, most := make([]int32, len(weights)), 0
	for i, w := range weights {
		if w >= weights[most] {
			most = i
		}
	}
	all[most] = weights[most]
	return all
}

func proportional(weights []int32, n int) []float64 {
	total := 0.0
	for _, w := range weights {
		total += float64(w)
	}
	all := make([]float64, len(weights))
	for i, w := range weights {
		all[i] = float64(n) * float64(w) / total
	}
	return all
}

// filled lets servers take as many as their weight, the heaviest first.
func filled(weights []int32, n int) []float64 {
	order := make([]int, len(weights))
	for i := range order {
		order[i] = len(weights) - 1 - i
	}
	slices.SortStableFunc(order, func(a, b int) int { return int(weights[b] - weights[a]) })
	all := make([]float64, len(weights))
	for _, i := range order {
		take := min(n, int(weights[i]))
		all[i] = float64(take)
		n -= take
	}
	return all
}

// countPicks counts the picks of each of n servers; a pick of 0 is none.
func countPicks(picks []uint16, servers int) []int {
	counts := make([]int, servers)
	for _, p := range picks {
		if p > 0 {
			counts[p-1]++
		}
	}
	return counts
}

// jain is Jain's index of counts against what they should be (Jain, Chiu and
// Hawe, DEC-TR-301, 1984): 1 if all have their share, 1/n if one of n has all.
// Servers that should have nothing do not count.
func jain(counts []int, want []float64) float64 {
	var sum, squares, n float64
	for i, w := range want {
		if w > 0 {
			y := float64(counts[i]) / w
			sum, squares, n = sum+y, squares+y*y, n+1
		}
	}
	if squares == 0 {
		return 0
	}
	return sum * sum / (n * squares)
}

// maxToMean is how many times its mean share the best served server has.
func maxToMean(counts []int, want []float64) float64 {
	var sum, most, n float64
	for i, w := range want {
		if w > 0 {
			y := float64(counts[i]) / w
			sum, most, n = sum+y, max(most, y), n+1
		}
	}
	if sum == 0 {
		return 0
	}
	return most / (sum / n)
}

// peak is the largest distance of any server, at any time, from what it should
// have of the picks so far. should gives that for a number of picks.
func peak(picks []uint16, servers int, should func(n int) []float64) float64 {
	counts, worst, taken := make([]float64, servers), 0.0, 0
	for _, p := range picks {
		if p == 0 {
			continue
		}
		taken++
		counts[p-1]++
		for i, w := range should(taken) {
			worst = max(worst, math.Abs(counts[i]-w))
		}
	}
	return worst
}

// smoothest is the peak of the order in which always the server is next that is
// furthest behind: below 1, and no order of whole connections is much better.
func smoothest(servers, n int, should func(n int) []float64) float64 {
	counts, picks := make([]float64, servers), make([]uint16, n)
	for t := range n {
		next, lag := 0, math.Inf(-1)
		for i, w := range should(t + 1) {
			if w-counts[i] > lag {
				next, lag = i, w-counts[i]
			}
		}
		counts[next]++
		picks[t] = uint16(next + 1)
	}
	return peak(picks, servers, should)
}

// chances is how often keys are thrown at servers to see what chance does.
const chances = 1000

// chance returns the 5th, 50th and 95th percentile of Jain's index if each of
// some keys met a server at random by weight, and all keys brought equally many
// connections. It is the yardstick for a hash: nobody who does not look at load
// can do better than by luck.
func chance(weights []float64, keys int) [3]float64 {
	r := rand.New(rand.NewPCG(3, uint64(keys)))
	total := 0.0
	for _, w := range weights {
		total += w
	}
	want := make([]float64, len(weights))
	for i, w := range weights {
		want[i] = float64(keys) * w / total
	}
	all := make([]float64, chances)
	for c := range all {
		counts := make([]int, len(weights))
		for range keys {
			x := r.Float64() * total
			i := 0
			for x >= weights[i] && i < len(weights)-1 {
				x -= weights[i]
				i++
			}
			counts[i]++
		}
		all[c] = jain(counts, want)
	}
	slices.Sort(all)
	return [3]float64{all[chances*5/100], all[chances/2], all[chances*95/100]}
}
