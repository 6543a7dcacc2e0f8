package afpacket

import (
	"sync"
	"testing"

	"uvs/internal/nstest"
)

// TestFeaturesAreAsAskedFromAFreshGoroutine: a small stack is where the library
// loses its variables.
func TestFeaturesAreAsAskedFromAFreshGoroutine(t *testing.T) {
	nstest.Veth(t, "near", "far")
	for i := range 60 {
		on := i%2 == 0
		want := map[string]bool{groFeature: on, "tx-tcp-segmentation": on, "not-a-feature": on}
		var fresh sync.WaitGroup
		fresh.Go(func() {
			if err := SetFeatures("near", want); err != nil {
				t.Error(err)
			}
		})
		fresh.Wait()
		if got := hasGRO(t); got != on {
			t.Fatalf("round %d: GRO is %v, want %v", i, got, on)
		}
	}
}
