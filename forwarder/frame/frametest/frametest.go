// Package frametest builds and checks packets with gopacket, for tests. It does not know
// package frame, so a test of that package gets a second opinion from it.
package frametest

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// transport is a layer whose checksum covers addresses of the network layer.
type transport interface {
	SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
}

// Build serializes layers into one frame or packet, with correct lengths and checksums.
func Build(tb testing.TB, ls ...gopacket.SerializableLayer) []byte {
	tb.Helper()
	b, err := serialize(true, ls...)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func serialize(sums bool, ls ...gopacket.SerializableLayer) ([]byte, error) {
	var network gopacket.NetworkLayer
	for _, l := range ls {
		if n, ok := l.(gopacket.NetworkLayer); ok {
			network = n
		}
		if t, ok := l.(transport); ok && network != nil {
			if err := t.SetNetworkLayerForChecksum(network); err != nil {
				return nil, err
			}
		}
	}
	buf := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: sums}, ls...)
	return buf.Bytes(), err
}

// Check recomputes all lengths and checksums of b, whose first layer is first, also inside
// tunnels, and returns an error if one differs.
func Check(b []byte, first gopacket.LayerType) error {
	var ls []gopacket.SerializableLayer
	at, allOnes := 0, -1 // offset of the layer, and of a UDP checksum 0xffff
walk:
	for _, l := range gopacket.NewPacket(b, first, gopacket.Default).Layers() {
		s, ok := l.(gopacket.SerializableLayer)
		if failure, failed := l.(gopacket.ErrorLayer); failed {
			return fmt.Errorf("gopacket: %w", failure.Error())
		} else if !ok {
			ls = append(ls, gopacket.Payload(l.LayerContents()), gopacket.Payload(l.LayerPayload()))
			break
		}
		ls = append(ls, s)
		switch l := l.(type) {
		case *layers.UDP:
			if l.Checksum == 0xffff {
				allOnes = at + 6
			}
			ls = append(ls, gopacket.Payload(l.Payload)) // gopacket would guess its type by the port
			break walk
		case *layers.TCP:
			ls = append(ls, gopacket.Payload(l.Payload))
			break walk
		}
		at += len(l.LayerContents())
	}
	again, err := serialize(true, ls...)
	if err != nil {
		return err
	}
	if allOnes >= 0 { // gopacket does not know RFC 768's all ones
		again[allOnes], again[allOnes+1] = 0xff, 0xff
	}
	if first == layers.LayerTypeEthernet { // gopacket pads to 60 bytes
		again = again[:min(len(again), len(b))]
	}
	if !bytes.Equal(again, b) {
		return fmt.Errorf("gopacket would write\n%x\nnot\n%x", again, b)
	}
	return nil
}
