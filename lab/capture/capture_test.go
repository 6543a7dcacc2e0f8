package capture_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"uvs/lab"
	"uvs/lab/capture"
	"uvs/lab/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

func TestTheFirstWordsNameLinks(t *testing.T) {
	nat := labtest.Build(t, "nat", lab.Options{})
	for _, c := range []struct{ words, links, filter, problem string }{
		{"", "client:eth0 director:eth0 director:eth1 rs1:eth0 rs2:eth0", "", ""},
		{"client rs1", "client:eth0 rs1:eth0", "", ""},
		{"director", "director:eth0 director:eth1", "", ""},
		{"director:eth1 director rs1:eth0", "director:eth1 director:eth0 rs1:eth0", "", ""},
		{"rs1 port 80", "rs1:eth0", "port 80", ""},
		{"port 80 and rs1", "client:eth0 director:eth0 director:eth1 rs1:eth0 rs2:eth0", "port 80 and rs1", ""},
		{"rs1 director:eth2", "", "", `"director:eth2" is no link; this lab has client:eth0, director:eth0, director:eth1, rs1:eth0, rs2:eth0`},
	} {
		links, filter, err := capture.Words(&nat, strings.Fields(c.words))
		if err != nil {
			if err.Error() != c.problem {
				t.Errorf("%s: %v, want %s", c.words, err, c.problem)
			}
			continue
		}
		var names []string
		for _, l := range links {
			names = append(names, l.String())
		}
		if got := strings.Join(names, " "); got != c.links || strings.Join(filter, " ") != c.filter {
			t.Errorf("%s: links %s, filter %q", c.words, got, filter)
		}
	}
}

// captured is what a capture has read so far.
type captured struct {
	mu     sync.Mutex
	frames []capture.Frame
	file   bytes.Buffer
	ended  chan error
}

// begin captures on links until the test or the lab ends, or stop is called.
func begin(t *testing.T, l *lab.Lab, words ...string) (c *captured, stop func() []capture.Count) {
	t.Helper()
	links, _, err := capture.Words(&l.Topology, words)
	if err != nil {
		t.Fatal(err)
	}
	taps, err := capture.Open(l, links, 0)
	if err != nil {
		t.Fatal(err)
	}
	c = &captured{ended: make(chan error, 1)}
	file, err := capture.NewFile(&c.file, "uvs", &l.Topology, links)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		c.ended <- taps.Run(ctx, 20*time.Millisecond, func(frames []capture.Frame, _ time.Time) error {
			c.mu.Lock()
			defer c.mu.Unlock()
			c.frames = append(c.frames, frames...)
			for i := range frames {
				if err := file.Frame(&frames[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}()
	t.Cleanup(taps.Close)
	t.Cleanup(cancel)
	return c, func() []capture.Count {
		cancel()
		if err := <-c.ended; err != nil {
			t.Fatal(err)
		}
		counts := taps.Counts()
		if err := file.End(counts); err != nil {
			t.Fatal(err)
		}
		return counts
	}
}

// until waits until a frame was captured.
func (c *captured) until(t *testing.T, what string, is func(*capture.Frame, *layers.TCP) bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		c.mu.Lock()
		found := slices.ContainsFunc(c.frames, func(f capture.Frame) bool {
			tcp, _ := gopacket.NewPacket(f.Bytes, layers.LayerTypeEthernet, gopacket.Default).Layer(layers.LayerTypeTCP).(*layers.TCP)
			return tcp != nil && is(&f, tcp)
		})
		c.mu.Unlock()
		if found {
			return
		}
	}
	t.Fatalf("%s was not captured", what)
}

func TestBothDirectionsOfEachLinkAreCaptured(t *testing.T) {
	t.Parallel()
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{RealServers: 1}))
	c, stop := begin(t, l)
	if _, err := l.Get("client", l.Topology.URL("/")); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{"client:eth0", "director:eth0", "director:eth1", "rs1:eth0"} {
		for _, out := range []bool{false, true} {
			c.until(t, link, func(f *capture.Frame, tcp *layers.TCP) bool {
				return f.Link.String() == link && f.Out == out && tcp.FIN
			})
		}
	}
	for _, n := range stop() {
		if n.Missed != 0 || n.Read == 0 {
			t.Errorf("%s: %d read, %d missed", n.Link, n.Read, n.Missed)
		}
	}
	c.checkOrder(t)
	c.checkFile(t)
}

// checkOrder wants the SYN on the links in the order in which it passed them.
func (c *captured) checkOrder(t *testing.T) {
	t.Helper()
	ways := map[uint16]string{} // by the identification of IPv4: a slow machine may need a second one
	for _, f := range c.frames {
		p := gopacket.NewPacket(f.Bytes, layers.LayerTypeEthernet, gopacket.Default)
		tcp, _ := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if ip, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4); tcp != nil && ip != nil && tcp.SYN && !tcp.ACK {
			ways[ip.Id] += f.Link.String() + map[bool]string{true: " out, ", false: " in, "}[f.Out]
		}
	}
	const want = "client:eth0 out, director:eth0 in, director:eth1 out, rs1:eth0 in, "
	if !slices.Contains(slices.Collect(maps.Values(ways)), want) {
		t.Errorf("SYNs were seen %v, none at %s", ways, want)
	}
}

// checkFile has another program's reader read the file: names, directions, whole checksums.
func (c *captured) checkFile(t *testing.T) {
	t.Helper()
	r, err := pcapgo.NewNgReader(&c.file, pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for {
		data, info, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		i, err := r.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		seen[i.Name]++
		if since := time.Since(info.Timestamp); since < 0 || since > time.Hour {
			t.Errorf("a frame of %s", info.Timestamp)
		}
		checkSum(t, data)
	}
	for _, name := range []string{"client:eth0", "director:eth0", "director:eth1", "rs1:eth0"} {
		if seen[name] == 0 {
			t.Errorf("no frame of %s, of %v", name, seen)
		}
	}
}

// checkSum wants the checksum of TCP that a wire would carry.
func checkSum(t *testing.T, frame []byte) {
	t.Helper()
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	tcp, _ := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if tcp == nil {
		return
	}
	was := tcp.Checksum
	if err := tcp.SetNetworkLayerForChecksum(p.NetworkLayer()); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{ComputeChecksums: true}, tcp, gopacket.Payload(tcp.Payload)); err != nil {
		t.Fatal(err)
	}
	if tcp.Checksum != was {
		t.Errorf("checksum %#04x, want %#04x", was, tcp.Checksum)
	}
}

func TestACaptureEndsWithItsLab(t *testing.T) {
	t.Parallel()
	labtest.Available(t)
	l, err := lab.Start(labtest.Build(t, "nat", lab.Options{Bare: true}), lab.Config{Program: labtest.Program(t)})
	if err != nil {
		t.Fatal(err)
	}
	c, _ := begin(t, l, "client")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-c.ended; err != nil {
		t.Error(err)
	}
}

func TestACaptureEndsWithTheReaderOfItsPipe(t *testing.T) {
	t.Parallel()
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{Bare: true}))
	links, _, _ := capture.Words(&l.Topology, nil)
	taps, err := capture.Open(l, links, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer taps.Close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	taps.EndWith(w)
	r.Close()
	err = taps.Run(t.Context(), time.Hour, func([]capture.Frame, time.Time) error { return nil })
	if !errors.Is(err, capture.ErrReaderGone) {
		t.Error(err)
	}
}

func TestFramesThatAreNotReadAreCounted(t *testing.T) {
	t.Parallel()
	l := labtest.Start(t, labtest.Build(t, "nat", lab.Options{Bare: true}))
	links, _, _ := capture.Words(&l.Topology, []string{"client"})
	taps, err := capture.Open(l, links, 64)
	if err != nil {
		t.Fatal(err)
	}
	defer taps.Close()
	to, err := l.Dial(t.Context(), "client", "udp", netip.AddrPortFrom(l.Topology.VIP, 9).String())
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	datagram := make([]byte, 60_000)
	for deadline := time.Now().Add(30 * time.Second); taps.Counts()[0].Missed == 0; {
		if time.Now().After(deadline) {
			t.Fatalf("nothing was missed: %+v", taps.Counts())
		}
		_, _ = to.Write(datagram) // port unreachable
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = taps.Run(ctx, time.Second, func(frames []capture.Frame, _ time.Time) error {
		for _, f := range frames {
			if len(f.Bytes) > 64 || f.Length < len(f.Bytes) {
				t.Errorf("%d of %d bytes", len(f.Bytes), f.Length)
			}
		}
		cancel()
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
