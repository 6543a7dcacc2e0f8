package service

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"uvs/conntrack"
	"uvs/forwarder/config"
	"uvs/forwarder/state"
	"uvs/sched"
)

// The short way to write a server says what JSON's says.
func TestAServerIsSavedAsJSONSaysIt(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := savedServer{
			Server: masq("10.1.0.1:80", rapid.Int32Range(0, 9).Draw(rt, "weight")),
			Seq:    rapid.Uint64Max(1<<53).Draw(rt, "seq"), Counters: rapid.Uint32().Draw(rt, "counters"), Home: rapid.Uint32().Draw(rt, "home"),
			LastWeight: rapid.Int32Min(0).Draw(rt, "last weight"), WasMasq: rapid.Bool().Draw(rt, "was by NAT"), Left: conntrack.Tick(rapid.Uint32().Draw(rt, "left")),
		}
		want.Method = rapid.SampledFrom([]sched.Method{sched.Masq, sched.Route, sched.FullNAT}).Draw(rt, "method")
		want.Upper, want.Lower = rapid.Uint32().Draw(rt, "upper"), rapid.Uint32().Draw(rt, "lower")
		if rapid.Bool().Draw(rt, "IPv6") {
			want.Addr = netip.MustParseAddr("fd00::1")
		}
		var got savedServer
		if err := unmarshal(want.appendTo(nil), &got); err != nil || !reflect.DeepEqual(got, want) {
			rt.Errorf("%+v is saved as %s: %v", want, want.appendTo(nil), err)
		}
	})
}

// What a command costs with and without a state: a server more, in batches as ipvsadm -R
// sends them, and one alone beside 100,000.
func BenchmarkAddServer(b *testing.B) {
	for _, kept := range []string{"none", "state"} {
		for _, batch := range []int{1, 1000} {
			b.Run(fmt.Sprintf("%s/batch=%d", kept, batch), func(b *testing.B) {
				s := New(sched.New)
				if kept == "state" {
					st, err := state.Open(state.Options{})
					if err != nil {
						b.Skip(err)
					}
					defer st.Close()
					if err := s.Restore(st); err != nil {
						b.Fatal(err)
					}
				}
				n := 0
				for b.Loop() {
					if n%100_000 == 0 {
						_ = s.Flush()
					}
					s.Apply(someServers(n, batch), false)
					n += batch
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/server")
			})
		}
	}
}

// someServers are commands for n servers, from number on, 100 to a service.
func someServers(number, n int) (all []config.Command) {
	for i := number; i < number+n; i++ {
		v := config.Service{Key: config.Key{Proto: config.TCP, Addr: netip.AddrFrom4([4]byte{10, 0, byte(i / 100 >> 8), byte(i / 100)}), Port: 80}, Scheduler: "rr"}
		if i%100 == 0 {
			all = append(all, config.Command{Op: config.OpAddService, Service: &v})
		}
		server := masq(fmt.Sprintf("10.1.%d.%d:80", i%100, i/100%250+1), 1)
		all = append(all, config.Command{Op: config.OpAddServer, Service: &config.Service{Key: v.Key}, Server: &server})
	}
	return all
}

// What the next director needs for 100,000 servers.
func BenchmarkRestore(b *testing.B) {
	dir := b.TempDir()
	st, err := state.Open(state.Options{Dir: dir})
	if err != nil {
		b.Skip(err)
	}
	s := New(sched.New)
	if err := s.Restore(st); err != nil {
		b.Fatal(err)
	}
	s.Apply(someServers(0, 100_000), false)
	_ = st.Close()
	for b.Loop() {
		st, err := state.Open(state.Options{Dir: dir})
		if err != nil {
			b.Fatal(err)
		}
		if err := New(sched.New).Restore(st); err != nil {
			b.Fatal(err)
		}
		_ = st.Close()
		st.Unmap()
	}
}
