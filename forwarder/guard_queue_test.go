package forwarder

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"uvs/forwarder/frame"
	"uvs/forwarder/guard"
)

// slowGuard takes a second to add a tuple.
type slowGuard struct {
	noGuard
	held map[guard.Tuple]int
}

func (g *slowGuard) AddTuple(t guard.Tuple) error {
	time.Sleep(time.Second)
	g.held[t]++
	return nil
}

func (g *slowGuard) RemoveTuple(t guard.Tuple) error {
	g.held[t]--
	return nil
}

func TestAnFTPLineWaitsForTheGuardAndNothingElseDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newFTP(t)
		g := &slowGuard{held: map[guard.Tuple]int{}}
		b.net.local = isVirtual
		b.fw.conf.Guard = g
		if err := b.fw.RebuildPlan(); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go b.fw.runGuardQueue(ctx)

		b.says("PASV\r\n")
		if got := b.answers("227 ok (10,1,0,1,200,10)\r\n"); got != "" {
			t.Errorf("the client was told %q before the guard knew", got)
		}
		if got := b.answers("200 more\r\n"); !strings.Contains(got, "200 more") {
			t.Errorf("another line gave %q, want it not to wait", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		out := b.collect()
		if len(out) != 1 || !strings.Contains(string(out[0].b), "(10,2,0,100,200,10)") {
			t.Fatalf("%d frames came when the guard knew, want the answer", len(out))
		}
		judge(t, out[0].b)
		data := guard.Tuple{Proto: frame.ProtoTCP, Addr: flowOf(out[0].b).Src(), Port: 51210}
		if g.held[data] != 1 {
			t.Errorf("held are %v, want %v", g.held, data)
		}
		b.pass(3 * time.Minute) // nobody came
		synctest.Wait()
		if g.held[data] != 0 {
			t.Errorf("%v is held after the connection expired", data)
		}
	})
}

func TestTooManyFTPLinesForTheGuardAreSentAgain(t *testing.T) {
	b := newFTP(t)
	b.net.local = isVirtual
	b.fw.conf.Guard = &slowGuard{held: map[guard.Tuple]int{}} // and nobody runs the queue
	if err := b.fw.RebuildPlan(); err != nil {
		t.Fatal(err)
	}
	b.fw.guardQueue.frames = guardQueueFrames
	b.says("PASV\r\n")
	if b.answers("227 ok (10,1,0,1,200,10)\r\n"); b.verdict(frame.DropNoMemory) != 1 {
		t.Errorf("%d frames were dropped, want the one too many", b.verdict(frame.DropNoMemory))
	}
	b.fw.guardQueue.frames = 0
	b.server -= uint32(len("227 ok (10,1,0,1,200,10)\r\n"))
	if got := b.answers("227 ok (10,1,0,1,200,10)\r\n"); !strings.Contains(got, "(10,2,0,100,200,10)") {
		t.Errorf("sent again it is %q", got)
	}
}
