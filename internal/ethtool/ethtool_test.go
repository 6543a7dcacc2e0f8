package ethtool

import (
	"os"
	"sync"
	"testing"

	"uvs/internal/nstest"
)

func TestMain(m *testing.M) { os.Exit(nstest.Run(m)) }

// A small stack is where the library loses its variables.
func TestFeaturesAreAsWantedFromANewGoroutine(t *testing.T) {
	nstest.Veth(t, "near", "far")
	for i := range 60 {
		on := i%2 == 0
		want := map[string]bool{"rx-gro": on, "tx-tcp-segmentation": on, "not-a-feature": on}
		var fresh sync.WaitGroup
		fresh.Go(func() {
			if err := SetFeatures("near", want); err != nil {
				t.Error(err)
			}
		})
		fresh.Wait()
		got, err := Features("near")
		if err != nil {
			t.Fatal(err)
		}
		if got["rx-gro"] != on {
			t.Fatalf("round %d: GRO is %v, want %v", i, got["rx-gro"], on)
		}
	}
}

func TestDriverOfAnInterface(t *testing.T) {
	nstest.Veth(t, "near", "far")
	if driver, err := Driver("near"); driver != "veth" || err != nil {
		t.Errorf("driver %q, %v, want veth", driver, err)
	}
	if driver, err := Driver("none"); err == nil {
		t.Errorf("an interface that does not exist has the driver %q", driver)
	}
}
