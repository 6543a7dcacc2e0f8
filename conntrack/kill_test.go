package conntrack

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"uvs/forwarder/frame"
	"uvs/sched"
)

const (
	victimCapacity = 3000
	lasting        = 300 // connections that a victim keeps: of 3 in turn by NAT, FULLNAT, and NAT with a template
)

// victim is a process that uses a table in memory which it gets from this one, until
// it is killed.
type victim struct {
	*file
	cmd *exec.Cmd
}

// start runs a victim until it has inserted, or found, the lasting connections.
func (v *victim) start() {
	v.t.Helper()
	fd, err := unix.FcntlInt(uintptr(v.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		v.t.Fatal(err)
	}
	memory := os.NewFile(uintptr(fd), "memory")
	defer memory.Close()
	v.cmd = exec.Command(os.Args[0], "-test.run=^TestUseATableUntilKilled$")
	v.cmd.Env = append(os.Environ(), "UVS_TEST_VICTIM=1")
	v.cmd.ExtraFiles = []*os.File{memory}
	out, err := v.cmd.StdoutPipe()
	if err != nil {
		v.t.Fatal(err)
	}
	if err := v.cmd.Start(); err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { v.kill() })
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "ready\n" {
		rest := make([]byte, 4096)
		n, _ := out.Read(rest)
		v.t.Fatalf("the victim says %q%s", line, rest[:n])
	}
}

func (v *victim) kill() {
	if v.cmd != nil {
		_ = v.cmd.Process.Kill()
		_ = v.cmd.Wait()
		v.cmd = nil
	}
}

// frozen returns a copy of the memory while all threads of the victim stand still,
// each between two instructions: what there would be had it been killed.
func (v *victim) frozen() []byte {
	v.t.Helper()
	if err := v.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		v.t.Fatal(err)
	}
	var status unix.WaitStatus
	for !status.Stopped() {
		if _, err := unix.Wait4(v.cmd.Process.Pid, &status, unix.WUNTRACED, nil); err != nil && err != unix.EINTR {
			v.t.Fatal(err)
		}
		if status.Exited() {
			v.t.Fatal("the victim has ended")
		}
	}
	b := make([]byte, v.size)
	if _, err := unix.Pread(v.fd, b, 0); err != nil {
		v.t.Fatal(err)
	}
	if err := v.cmd.Process.Signal(unix.SIGCONT); err != nil {
		v.t.Fatal(err)
	}
	return b
}

// machineTick is the tick of all processes alike.
func machineTick() Tick {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return Tick(ts.Nano() / 1e8)
}

// TestATableIsWholeWheneverItsProcessIsKilled stops a process that uses a table at
// random moments and adopts copies of it, and kills others and has the next adopt.
func TestATableIsWholeWheneverItsProcessIsKilled(t *testing.T) {
	v := &victim{file: newFile(t, victimCapacity)}
	moments, kills := 100, 8
	if testing.Short() {
		moments, kills = 10, 2
	}
	for range kills {
		v.start()
		for range moments / kills {
			time.Sleep(rand.N(3 * time.Millisecond))
			checkAdopted(t, v.frozen())
		}
		v.kill()
	}
	checkAdopted(t, v.mapped())
}

// checkAdopted adopts memory of a victim, and looks for its lasting connections.
func checkAdopted(t testing.TB, b []byte) {
	t.Helper()
	table, err := New(Config{Capacity: victimCapacity, Memory: b})
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	ports, _ := NewPorts(table, 5000, 9000)
	inv, err := table.Adopt(Adoption{Now: machineTick(), Known: everyServer, Ports: ports})
	if err != nil {
		t.Fatal(err)
	}
	audit(t, table)
	if err := missing(table); err != nil {
		t.Errorf("%v; %+v", err, inv)
	}
	taken := 0
	table.Reader().Range(func(c *Conn) bool {
		if c.takesPort() {
			taken++
		}
		return true
	})
	if live, over := counted(ports); live+over != taken {
		t.Errorf("%d ports are in use, and %d connections have one", live+over, taken)
	}
}

// missing says which of a victim's lasting connections is not there as it was.
func missing(table *Table) error {
	r := table.Reader()
	defer r.Close()
	for i := range lasting {
		want := lastingConn(i)
		f := want.RequestFlow()
		c, _ := r.Lookup(&f)
		switch {
		case c == nil:
			return fmt.Errorf("lasting connection %d, %v, is missing", i, f.String())
		case c.State() != TCPEstablished || c.Has(Inactive) || c.Server != want.Server || c.Method() != want.Method():
			return fmt.Errorf("lasting connection %d is %v", i, text(c, table))
		case i%3 == 2 && (c.Control == 0 || !table.At(c.Control).Has(Template)):
			return fmt.Errorf("lasting connection %d has lost its template", i)
		}
	}
	return nil
}

func lastingConn(i int) Conn {
	m := sched.Masq
	if i%3 == 1 {
		m = sched.FullNAT
	}
	c := conn(frame.ProtoTCP, fmt.Sprintf("10.9.%d.%d:4000", i>>8, i&0xff), "192.0.2.9:80", fmt.Sprintf("10.1.0.%d:80", 1+i%7), m)
	c.Local, c.Server = ap("10.3.0.1:1").Addr().As16(), sched.ID(1+i%7)
	return c
}

// TestUseATableUntilKilled is the victim.
func TestUseATableUntilKilled(t *testing.T) {
	if os.Getenv("UVS_TEST_VICTIM") == "" {
		t.Skip("only for a process that another test starts")
	}
	runtime.GOMAXPROCS(4)
	u := &use{t: t, rules: DefaultRules()}
	for i := range u.rules.TCP {
		u.rules.TCP[i] = 2 // all but the lasting ones end soon
	}
	u.rules.TCP[TCPEstablished] = Seconds(3600)
	f := &file{t: t, fd: 3, size: Size(victimCapacity)}
	u.table = newTable(t, Config{Capacity: victimCapacity, Memory: f.mapped(), Gone: u.gone})
	u.ports, _ = NewPorts(u.table, 5000, 9000)
	if u.table.Inherited() {
		if _, err := u.table.Adopt(Adoption{Now: machineTick(), Known: everyServer, Ports: u.ports}); err != nil {
			t.Fatal(err)
		}
		if err := missing(u.table); err != nil {
			t.Fatal(err)
		}
	} else {
		u.insertLasting()
	}
	fmt.Println("ready")
	go func() {
		for {
			u.table.Sweep(machineTick(), 64)
			runtime.Gosched()
		}
	}()
	for i := range uint64(3) {
		go u.work(i)
	}
	select {}
}

// use is what a victim does with its table.
type use struct {
	t     *testing.T
	table *Table
	ports *Ports
	rules *Rules
}

func (u *use) gone(c *Conn) {
	if c.takesPort() {
		u.ports.Release(c)
	}
}

func (u *use) insertLasting() {
	r := u.table.Reader()
	for i := range lasting {
		u.open(r, lastingConn(i), i%3 == 2, tcpSyn, tcpSyn, tcpAck)
	}
}

// open inserts a connection and has packets come in both directions.
func (u *use) open(r *Reader, c Conn, persistent bool, events ...Event) {
	r.Enter()
	defer r.Exit()
	now := machineTick()
	if persistent {
		f := c.RequestFlow()
		ct := Make(&f, sched.Masq, Template)
		ct.ClientPort, ct.Server, ct.Real = 0, c.Server, c.Real
		ct.SetTimeout(Seconds(3600))
		if len(events) < 3 {
			ct.SetTimeout(3)
		}
		if kept, _ := r.Insert(&ct, now); kept != nil {
			c.Control = u.table.Ref(kept)
		}
	}
	if c.takesPort() {
		port, _, ok := u.ports.Allocate(PortKeyOf(&c))
		if !ok {
			if port, _, ok = u.ports.Reuse(r, PortKeyOf(&c), now); !ok {
				return
			}
		}
		c.LocalPort = port
	}
	kept, inserted := r.Insert(&c, now)
	if !inserted && c.takesPort() {
		u.ports.Release(&c)
	}
	if kept == nil {
		return
	}
	for i, ev := range events {
		u.table.Advance(kept, ev, Direction(i%2), now, u.rules)
		if kept.takesPort() && ev == tcpFin {
			seq := uint32(100 * i)
			u.ports.Observe(kept, &Segment{Flags: frame.FlagFIN | frame.FlagACK, Seq: seq, Ack: seq - 99}, Direction(i%2))
		}
	}
}

func (u *use) work(seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, uint64(os.Getpid())))
	r := u.table.Reader()
	endings := [][]Event{{tcpSyn}, {tcpSyn, tcpSyn, tcpAck, tcpFin, tcpFin}, {tcpSyn, tcpRst}, {tcpSyn, tcpSyn, tcpRst}}
	for {
		c := nthConn(rnd.IntN(3500))
		c.Server = sched.ID(1 + rnd.IntN(7))
		if rnd.IntN(3) == 0 {
			f := c.RequestFlow()
			real, port := c.Real, c.RealPort
			c = Make(&f, sched.FullNAT, 0)
			c.Real, c.RealPort, c.Local, c.Server = real, port, ap("10.3.0.2:1").Addr().As16(), 3
		}
		u.open(r, c, rnd.IntN(4) == 0, endings[rnd.IntN(len(endings))]...)
		if rnd.IntN(3) == 0 {
			f := c.RequestFlow()
			r.Enter()
			if n, _ := r.Lookup(&f); n != nil {
				r.Remove(n, machineTick())
			}
			r.Exit()
		}
	}
}
