package conntrack

import (
	"testing"

	"uvs/forwarder/frame"
	"uvs/sched"
)

// begun inserts a connection that a SYN proxy began.
func begun(t *testing.T, r *Reader, client string, m sched.Method, h Handshake) *Conn {
	t.Helper()
	c := conn(frame.ProtoTCP, client, "192.0.2.1:21", "10.1.0.5:21", m)
	c.Server, c.Local, c.LocalPort = 1, ap("10.3.0.1:1").Addr().As16(), 5000
	c.SetFlags(Helped) // FTP's: its notes are elsewhere in the same memory
	kept, inserted := r.InsertRenumbered(&c, Renumber{Handshake: h}, 1)
	if !inserted {
		t.Fatal("not inserted")
	}
	return kept
}

func TestAHandshakeIsKeptUntilTheServerAnswers(t *testing.T) {
	for _, h := range []Handshake{
		{Made: true, Cookie: 1000, Scale: NoScale},
		{Made: true, Cookie: 1000, Scale: 0, SACK: true},
		{Made: true, Cookie: 1<<32 - 1, Scale: 14, Stamped: true, Stamp: 77},
	} {
		r := newTable(t, Config{Capacity: 8}).Reader()
		c := begun(t, r, "10.0.0.9:4000", sched.Masq, h)
		if got, ok := r.t.Opening(c); !ok || got != h {
			t.Fatalf("%+v became %+v, %v", h, got, ok)
		}
		if _, ok := r.t.Distance(c); ok {
			t.Error("there is a distance before the server has answered")
		}
		if !r.t.Answer(c, 400, 70, 9) || r.t.Answer(c, 500, 80, 1) {
			t.Error("the server's first answer is the one that counts")
		}
		want := Distance{Seq: h.Cookie - 400, Client: h.Scale, Server: 9}
		if h.Stamped {
			want.Stamp = h.Stamp - 70
		}
		if got, ok := r.t.Distance(c); !ok || got != want {
			t.Errorf("distance %+v, %v; want %+v", got, ok, want)
		}
		if _, ok := r.t.Opening(c); ok || !r.t.Proxied(c) {
			t.Error("it is still opening, or nobody knows who began it")
		}
	}
}

// TestASlotForgetsTheHandshake of its previous connection.
func TestASlotForgetsTheHandshake(t *testing.T) {
	table := newTable(t, Config{Capacity: 1})
	r := table.Reader()
	r.Remove(begun(t, r, "10.0.0.9:4000", sched.FullNAT, Handshake{Made: true, Cookie: 5}), 1)
	for !table.Sweep(2, 1) {
	}
	c := conn(frame.ProtoTCP, "10.0.0.9:4001", "192.0.2.1:80", "10.1.0.5:80", sched.FullNAT)
	kept, inserted := r.Insert(&c, 2)
	if _, ok := table.Opening(kept); !inserted || ok || table.Proxied(kept) {
		t.Error("the next connection has it, too")
	}
}

func TestAHandshakeIsAdopted(t *testing.T) {
	f := newFile(t, 16)
	before := newTable(t, Config{Capacity: 16, Memory: f.mapped()})
	r := before.Reader()
	waits := Handshake{Made: true, Cookie: 1000, Scale: 7, Stamped: true, Stamp: 5}
	begun(t, r, "10.0.0.9:4000", sched.Masq, waits)
	done := begun(t, r, "10.0.0.9:4001", sched.Masq, waits)
	before.Answer(done, 400, 70, 9)
	*before.Notes(done) = [5]uint32{1, 2, 3, 4, 5}
	want, _ := before.Distance(done)
	after, _ := adopt(t, f.mapped(), 16, 2)
	find := func(client string) *Conn {
		flow := frame.FlowOf(frame.ProtoTCP, ap(client), ap("192.0.2.1:21"))
		c, _ := after.Reader().Lookup(&flow)
		return c
	}
	if got, ok := after.Opening(find("10.0.0.9:4000")); !ok || got != waits {
		t.Errorf("one that was opening has %+v, %v", got, ok)
	}
	c := find("10.0.0.9:4001")
	if got, ok := after.Distance(c); !ok || got != want || *after.Notes(c) != [5]uint32{1, 2, 3, 4, 5} || after.Renumber(c) != (Renumber{}) {
		t.Errorf("one that is open has %+v, %v, want %+v", got, ok, want)
	}
}

func TestDropEntrySparesAConnectionWhoseServerHasNotAnswered(t *testing.T) {
	table := newTable(t, Config{Capacity: 1})
	r := table.Reader()
	c := begun(t, r, "10.0.0.9:4000", sched.Masq, Handshake{Made: true, Cookie: 5})
	table.Advance(c, TCPEvent(frame.FlagSYN), Request, 1, DefaultRules())
	var d Dropper
	if n := d.Drop(r, 2); n != 0 || c.Gone() {
		t.Errorf("%d dropped", n)
	}
	table.Answer(c, 400, 0, NoScale)
	if n := d.Drop(r, 2); n != 1 || !c.Gone() {
		t.Errorf("%d dropped when it had, of one in its first state", n)
	}
}
