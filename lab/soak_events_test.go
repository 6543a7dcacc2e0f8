package lab_test

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// disturb lets things happen at random for a time, and looks at the accounts in between.
func (s *soak) disturb(d time.Duration) {
	s.t.Helper()
	s.events = map[string]int{}
	for deadline := time.Now().Add(d); time.Now().Before(deadline); {
		what, do := s.event()
		s.events[what]++
		s.t.Logf("%s %s", time.Now().Format(time.TimeOnly), what)
		do()
		s.await()
		s.check()
		time.Sleep(time.Duration(200+s.rng.IntN(800)) * time.Millisecond)
	}
}

// event picks something that may happen.
func (s *soak) event() (what string, do func()) {
	switch n := s.rng.IntN(100); {
	case n < 15:
		return "the director is killed", func() { s.signal("KILL") }
	case n < 30:
		return "the director is replaced", s.replace
	case n < 35:
		return "the director is stopped and started", s.restart
	case n < 40:
		return "the director stands still", func() {
			s.signal("STOP")
			time.Sleep(time.Duration(s.rng.IntN(1000)) * time.Millisecond)
			s.signal("CONT")
		}
	case n < 55:
		return "a server dies and comes back", s.serverDies
	case n < 60:
		return "an interface flaps", func() {
			sh(s.t, s.l, "director", fmt.Sprintf("ip link set eth%[1]d down; ip link set eth%[1]d up", s.rng.IntN(2)))
		}
	}
	return "the configuration changes", func() { sh(s.t, s.l, "director", s.change()+" || true") }
}

func (s *soak) signal(name string) { sh(s.t, s.l, "director", "kill -"+name+" "+s.pid()) }

func (s *soak) replace() {
	s.t.Helper()
	old := s.pid()
	s.start("uvs", "director", "--replace")
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if s.pid() != old {
			return
		}
	}
	s.t.Fatal("the director is not replaced")
}

func (s *soak) restart() {
	s.t.Helper()
	s.signal("TERM")
	for _, c := range s.running {
		_ = c.Signal(unix.SIGTERM) // its keeper has ended with it; this is for one that has not
		_ = c.Wait()
	}
	s.running = nil
	s.begin()
}

func (s *soak) serverDies() {
	s.t.Helper()
	name := fmt.Sprintf("rs%d", 1+s.rng.IntN(soakServers-1))
	if err := s.l.Kill(name); err != nil {
		s.t.Fatal(err)
	}
	time.Sleep(time.Duration(s.rng.IntN(1500)) * time.Millisecond)
	if err := s.l.StartServices(name); err != nil {
		s.t.Fatal(err)
	}
}

// change returns a command that changes the configuration of a service that may change.
func (s *soak) change() string {
	methods := []string{"-m", "--fullnat", "-g", "-i"}
	method := methods[s.rng.IntN(len(methods))]
	kind := soakKinds[[]int{0, 2}[s.rng.IntN(2)]]
	vip := families(soakVIPs[method])[s.rng.IntN(2)]
	address := withPort(vip, kind.port)
	at := kind.option + " " + address
	r := serverOf(address, 1+s.rng.IntN(soakServers), method) + " " + method
	schedulers := []string{"rr", "wrr", "lc", "wlc", "sh", "dh", "mh", "sed", "nq", "lblc", "lblcr", "fo", "ovf"}
	onOff := []string{"on", "off"}
	switch s.rng.IntN(12) {
	case 0:
		return fmt.Sprintf("ipvsadm -E %s -s %s", at, schedulers[s.rng.IntN(len(schedulers))])
	case 1:
		return fmt.Sprintf("ipvsadm -e %s -r %s -w %d", at, r, s.rng.IntN(4))
	case 2:
		return fmt.Sprintf("ipvsadm -d %s -r %s", at, serverOf(address, 1+s.rng.IntN(soakServers), method))
	case 3:
		return fmt.Sprintf("ipvsadm -a %s -r %s -w 1", at, r)
	case 4:
		gone := []string{"drop", "icmp", "reset"}
		return fmt.Sprintf("uvs policy %s --gone %s --drain %d", at, gone[s.rng.IntN(len(gone))], s.rng.IntN(3))
	case 5:
		return fmt.Sprintf("sysctl -qw net.ipv4.vs.expire_nodest_conn=%d net.ipv4.vs.sloppy_tcp=%d", s.rng.IntN(2), s.rng.IntN(2))
	case 6:
		return fmt.Sprintf("ipvsadm -D %s", at)
	case 7:
		vip := families(soakVIPs[methods[s.rng.IntN(2)]])[s.rng.IntN(2)]
		return fmt.Sprintf("uvs synproxy -t %s %s", withPort(vip, 80), onOff[s.rng.IntN(2)])
	case 8:
		return s.changeTemplates()
	case 9:
		return fmt.Sprintf("ipvsadm -e -t %s -r %s -m -w %d", withPort(soakVIPs["-m"], 21), serverAddress(1+s.rng.IntN(soakServers), "-m"), s.rng.IntN(3))
	}
	return "ipvsadm -Z"
}

// changeTemplates returns a command that changes a service with persistence.
func (s *soak) changeTemplates() string {
	persistent := withPort(families(soakPersistent)[s.rng.IntN(2)], 80)
	n := 1 + s.rng.IntN(soakServers)
	switch s.rng.IntN(5) {
	case 0:
		return fmt.Sprintf("ipvsadm -E -t %s -s wlc -p %d", persistent, 1+s.rng.IntN(4))
	case 1:
		return fmt.Sprintf("ipvsadm -d -t %s -r %s", persistent, serverOf(persistent, n, "--fullnat"))
	case 2:
		return fmt.Sprintf("ipvsadm -e -f %s -r %s -g -w %d", soakMark, serverAddress(n, "-g"), s.rng.IntN(3))
	case 3:
		return fmt.Sprintf("ipvsadm -d -f %s -r %s", soakMark, serverAddress(n, "-g"))
	}
	return fmt.Sprintf("sysctl -qw net.ipv4.vs.expire_quiescent_template=%d", s.rng.IntN(2))
}
