package porttest_test

import (
	"testing"

	"uvs/forwarder/porttest"
	"uvs/forwarder/porttest/conform"
)

func TestConformance(t *testing.T) {
	conform.Run(t, func(t *testing.T) conform.Rig {
		near, far := porttest.Pipe()
		near.MTU = 1500
		return conform.Rig{Port: near, Wire: far, Index: near.Index, MTU: near.MTU, Offloads: true,
			Allocs: true, // frames that nobody fetches from the far end; TestNoAllocs has both ends
		}
	})
}
