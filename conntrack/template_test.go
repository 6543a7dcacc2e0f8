package conntrack

import (
	"fmt"
	"net"
	"testing"

	"uvs/forwarder/frame"
	"uvs/sched"
)

func TestTemplateFlowGroupsClients(t *testing.T) {
	for _, tt := range []struct {
		name, src, dst string
		mask           int
		port           uint16
		mark           uint32
		want           string
	}{
		{"a service by port", "172.16.5.1:1000", "10.2.1.1:80", 32, 80, 0, "tcp 172.16.5.1:0 > 10.2.1.1:80"},
		{"a service for all ports", "172.16.5.1:1000", "10.2.1.3:443", 32, 0, 0, "tcp 172.16.5.1:0 > 10.2.1.3:0"},
		{"clients of a /24", "172.16.6.200:1000", "10.2.1.2:80", 24, 80, 0, "tcp 172.16.6.0:0 > 10.2.1.2:80"},
		{"IPv6 clients of a /64", "[fd00:c::1:1]:1", "[fd00:2::11]:80", 64, 80, 0, "tcp [fd00:c::]:0 > [fd00:2::11]:80"},
		{"a mark, for any protocol and port", "172.16.5.1:1000", "10.2.1.16:80", 32, 0, 77, "proto0 172.16.5.1:0 > 0.0.0.77:0"},
		{"a mark and IPv6", "[fd00:c::5]:1", "[fd00:2::11]:80", 128, 0, 77, "proto0 [fd00:c::5]:0 > [0:4d::]:0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := frame.FlowOf(frame.ProtoTCP, ap(tt.src), ap(tt.dst))
			got := TemplateFlow(&f, maskOf(&f, tt.mask), tt.port)
			if tt.mark != 0 {
				got = MarkTemplateFlow(&f, maskOf(&f, tt.mask), tt.mark)
			}
			if got.String() != tt.want {
				t.Errorf("got %s, want %s", got.String(), tt.want)
			}
		})
	}
}

// maskOf returns a mask of so many bits of the flow's address family.
func maskOf(f *frame.Flow, bits int) *[16]byte {
	if f.Is4() {
		bits += 96
	}
	return (*[16]byte)(net.CIDRMask(bits, 128))
}

func TestTemplatesAndConnectionsDoNotSeeEachOther(t *testing.T) {
	r := newTable(t, Config{Capacity: 10}).Reader()
	f := frame.FlowOf(frame.ProtoTCP, ap("10.0.0.9:0"), ap("192.0.2.1:80"))
	tmpl, c := Make(&f, sched.Masq, Template), Make(&f, sched.Masq, 0)
	ct, inserted := r.Insert(&tmpl, 1)
	if !inserted {
		t.Fatal("template not inserted")
	}
	if got, _ := r.Lookup(&f); got != nil {
		t.Error("Lookup found a template")
	}
	kept, inserted := r.Insert(&c, 1)
	if !inserted {
		t.Fatal("connection not inserted beside a template of the same flow")
	}
	if got, _ := r.Lookup(&f); got != kept || r.LookupTagged(&f, &Tag{}) != ct {
		t.Error("each lookup should find its own kind")
	}
}

func TestInvalidTemplateIsListedButNotFound(t *testing.T) {
	r := newTable(t, Config{Capacity: 10}).Reader()
	f := frame.FlowOf(frame.ProtoTCP, ap("172.16.5.1:1000"), ap("10.2.1.8:80"))
	tf := TemplateFlow(&f, maskOf(&f, 32), 80)
	tmpl := Make(&tf, sched.Masq, Template)
	tmpl.Real, tmpl.RealPort = ap("10.1.0.3:80").Addr().As16(), 80
	tmpl.SetTimeout(Seconds(100))
	old, _ := r.Insert(&tmpl, 1)
	if !r.Invalidate(old) || r.Invalidate(old) {
		t.Fatal("Invalidate: want true once, then false")
	}
	if r.LookupTagged(&tf, &Tag{}) != nil {
		t.Fatal("an invalid template was found")
	}
	if got := old.VirtualAddr().String() + " " + old.RealAddr().String(); got != "10.2.1.8:65535 10.1.0.3:65535" {
		t.Errorf("listed as %s", got)
	}
	fresh, inserted := r.Insert(&tmpl, 1)
	if !inserted || r.LookupTagged(&tf, &Tag{}) != fresh || r.t.Len() != 2 {
		t.Error("no new template beside the invalid one")
	}
	if !r.Remove(old, 1) || r.LookupTagged(&tf, &Tag{}) != fresh || r.t.Len() != 1 {
		t.Error("removing the invalid one disturbed the other")
	}
}

func TestExpectedConnectionGetsItsPort(t *testing.T) {
	gone := 0
	table := newTable(t, Config{Capacity: 10, Gone: func(*Conn) { gone++ }})
	r := table.Reader()
	f := frame.FlowOf(frame.ProtoTCP, ap("10.0.0.9:5555"), ap("192.0.2.1:40000"))
	if r.Expected(&f) != nil {
		t.Fatal("expected before it was announced")
	}
	control := natConn()
	ftp, _ := r.Insert(&control, 1)
	announced := conn(frame.ProtoTCP, "10.0.0.9:0", "192.0.2.1:40000", "10.1.0.5:40000", sched.Masq)
	announced.SetFlags(NoClientPort)
	announced.Control = table.Ref(ftp)
	r.Insert(&announced, 1)
	want := r.Expected(&f)
	if want == nil {
		t.Fatal("not expected")
	}
	got := r.Complete(want, 5555, 2)
	if got == nil || r.Complete(want, 5556, 2) != nil {
		t.Fatal("Complete: want a connection once, then nil")
	}
	back := got.ReplyFlow()
	if c, isReply := r.Lookup(&back); c != got || !isReply || back.DstPort() != 5555 {
		t.Errorf("reply %v not found", back.String())
	}
	if c, _ := r.Lookup(&f); c != got || r.Expected(&f) != nil || gone != 0 || table.Len() != 2 || ftp.Controls() != 1 {
		t.Errorf("%d gone, %d connections, control has %d", gone, table.Len(), ftp.Controls())
	}
	if r.Remove(got, 2); gone != 1 || ftp.Controls() != 0 {
		t.Errorf("after its end %d gone, control has %d", gone, ftp.Controls())
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	r, flows := filled(t, 1000)
	rules := DefaultRules()
	refs, found := make([]*frame.Flow, len(flows)), make([]Found, len(flows))
	for i := range flows {
		refs[i] = &flows[i]
	}
	i := 0
	for name, f := range map[string]func(){
		"Lookup":      func() { r.Lookup(&flows[i%1000]) },
		"LookupBatch": func() { r.LookupBatch(refs, found) },
		"Advance": func() {
			c, _ := r.Lookup(&flows[i%1000])
			r.t.Advance(c, TCPEvent(uint8(i)), Direction(i%2), Tick(i), rules)
		},
		"Insert and Remove": func() {
			c := nthConn(100000 + i)
			kept, _ := r.Insert(&c, 1)
			r.Remove(kept, 1)
			r.t.Sweep(1, 100)
		},
	} {
		if n := testing.AllocsPerRun(1000, func() { i++; r.Enter(); f(); r.Exit() }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func TestTagsTellTemplatesOfOneFlowApart(t *testing.T) {
	r := newTable(t, Config{Capacity: 100}).Reader()
	f := frame.FlowOf(frame.ProtoUDP, ap("172.16.5.1:0"), ap("10.2.1.8:5060"))
	tags := []Tag{{}, {1}, {2}, {0, 1}, {15: 1}}
	kept := map[Tag]*Conn{}
	for _, tag := range tags {
		c := Make(&f, sched.Masq, Template)
		c.Local = tag
		n, inserted := r.Insert(&c, 1)
		if !inserted {
			t.Fatalf("tag %v: another template is in the way", tag)
		}
		if again, inserted := r.Insert(&c, 1); inserted || again != n {
			t.Errorf("tag %v: entered twice", tag)
		}
		kept[tag] = n
	}
	for _, tag := range tags {
		if r.LookupTagged(&f, &tag) != kept[tag] {
			t.Errorf("tag %v finds another template", tag)
		}
	}
	if r.LookupTagged(&f, &Tag{}) != kept[Tag{}] || r.LookupTagged(&f, &Tag{3}) != nil {
		t.Error("no tag finds a template with one, or a tag nobody has finds any")
	}
	if !r.Remove(kept[Tag{1}], 1) || r.LookupTagged(&f, &Tag{1}) != nil || r.LookupTagged(&f, &Tag{2}) != kept[Tag{2}] {
		t.Error("removing one disturbed the others")
	}
}

func TestOfConnectionsExpectedByTwoServersTheYoungestComesFirst(t *testing.T) {
	table := newTable(t, Config{Capacity: 10})
	r := table.Reader()
	f := frame.FlowOf(frame.ProtoTCP, ap("10.0.0.9:0"), ap("192.0.2.1:50000"))
	for _, server := range []string{"10.1.0.1:50000", "10.1.0.2:50000"} {
		c := Make(&f, sched.Masq, NoClientPort)
		c.Real, c.RealPort = ap(server).Addr().As16(), 50000
		if _, inserted := r.Insert(&c, 1); !inserted {
			t.Fatalf("%s: the other server's is in the way", server)
		}
	}
	for i, want := range []string{"10.1.0.2:50000", "10.1.0.1:50000"} {
		come := frame.FlowOf(frame.ProtoTCP, ap(fmt.Sprintf("10.0.0.9:%d", 4000+i)), ap("192.0.2.1:50000"))
		e := r.Expected(&come)
		if e == nil || e.RealAddr().String() != want {
			t.Fatalf("connection %d is expected by %v, want %s", i, e, want)
		}
		if c := r.Complete(e, come.SrcPort(), 1); c == nil || c.RealAddr().String() != want {
			t.Fatalf("connection %d was not completed", i)
		}
	}
	if table.expected.Load() != 0 || table.Len() != 2 {
		t.Errorf("%d are still awaited among %d connections", table.expected.Load(), table.Len())
	}
}
