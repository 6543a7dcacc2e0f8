package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// applyWithin is how long a lab may take to become another.
const applyWithin = 2 * time.Minute

// setUpWithin is how long after its begin the set-up commands of one change may last.
const setUpWithin = 90 * time.Second

// Apply makes the running lab one of another topology, as [Topology.Plan] says. Nodes that stay keep
// their processes, and their interfaces. If something fails, the error says what, and what was not
// done is left for the next call. It returns what could not be undone, because it was undone already
// or has become something else.
func (l *Lab) Apply(to Topology) (notes []string, err error) {
	if err := errors.Join(to.check(), to.HowToGetKeepalived()); err != nil {
		return nil, err
	}
	a, files, err := callFor(l.socket, request{Op: opApply, Topology: &to}, applyWithin)
	closeAll(files)
	if err != nil {
		return a.Notes, err
	}
	if l.Topology = to; a.Topology != nil { // another uvs, which started the lab, may not say it
		l.Topology = *a.Topology // with the numbers of its nodes
	}
	return a.Notes, nil
}

// apply answers a request to make the lab another.
func (s *supervisor) apply(c *net.UnixConn, to *Topology) error {
	if to == nil {
		return errors.New("lab: no topology")
	}
	if err := to.check(); err != nil {
		return err
	}
	for deadline := time.Now().Add(readyWithin); !s.changing.TryLock(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("lab: other requests do not end")
		}
	}
	defer s.changing.Unlock()
	for _, h := range s.hosts {
		if h.failed != nil {
			return fmt.Errorf("lab: %s has failed: bring it back first", h.Name)
		}
	}
	next := s.Topology.numbered(to)
	steps := planFrom(&s.Topology, next, s.unfinished)
	for _, st := range steps {
		if st.Sign == cannot {
			return fmt.Errorf("lab: %s: %s", st.What, st.Text)
		}
	}
	s.notes, s.setUpBy = nil, time.Now().Add(setUpWithin)
	was := s.Topology
	err := s.take(steps, next)
	s.state.Lock()
	if s.unfinished = append(s.unfinished, was); err == nil {
		s.unfinished = nil
	}
	s.state.Unlock()
	if err != nil {
		return err
	}
	return reply(c, answer{Started: true, Notes: s.notes, Topology: &s.Topology})
}

// take does the steps of a plan.
func (s *supervisor) take(steps []step, next *Topology) error {
	adopted, awaited := false, false
	for i, st := range steps {
		var err error
		if st.phase >= arrive && !adopted {
			adopted, err = true, s.adopt(next)
		}
		if st.phase > address && !awaited && err == nil {
			awaited, err = true, s.awaitNetworks()
		}
		if st.do != nil && err == nil {
			err = st.do(s)
		}
		if err == nil {
			continue
		}
		if !adopted && st.phase >= leave { // what is gone is gone
			adopted, err = true, errors.Join(err, s.adopt(next))
		}
		if adopted {
			s.forget(steps[i:])
		}
		return err
	}
	if adopted {
		return s.awaitNetworks()
	}
	return s.adopt(next) // what nothing has to be done for, such as the text of a check
}

// forget takes steps that were not done out of the topology.
func (s *supervisor) forget(steps []step) {
	s.state.Lock()
	defer s.state.Unlock()
	for _, left := range steps {
		if left.forget != nil {
			left.forget(&s.Topology)
		}
	}
}

// numbered returns a topology in which the nodes that there are already keep their numbers.
func (t *Topology) numbered(to *Topology) *Topology {
	next := *to
	next.Nodes = slices.Clone(to.Nodes)
	used := map[int]bool{}
	for i := range next.Nodes {
		next.Nodes[i].Number = 0
		at := slices.IndexFunc(t.Nodes, func(n Node) bool { return n.Name == next.Nodes[i].Name })
		if at >= 0 {
			next.Nodes[i].Number = t.number(at)
			used[t.number(at)] = true
		}
	}
	free := 1
	for i := range next.Nodes {
		if next.Nodes[i].Number != 0 {
			continue
		}
		for used[free] {
			free++
		}
		next.Nodes[i].Number, used[free] = free, true
	}
	return &next
}

// adopt makes a topology the lab's: nodes that stay are its nodes now, and those that come begin to
// exist, without interfaces.
func (s *supervisor) adopt(next *Topology) error {
	fresh, err := s.turnInto(next)
	if err != nil {
		return err
	}
	for _, h := range fresh { // all have their names in /run/netns now
		if err := h.isolate(); err != nil {
			return err
		}
	}
	for _, h := range fresh {
		s.introduce(h, fresh)
	}
	return nil
}

// turnInto replaces the topology and the hosts, and returns those that are new.
func (s *supervisor) turnInto(next *Topology) (fresh []*host, err error) {
	s.state.Lock()
	defer s.state.Unlock()
	was := s.Topology
	var hosts []*host
	for i := range next.Nodes {
		n := &next.Nodes[i]
		at := slices.IndexFunc(s.hosts, func(h *host) bool { return h.Name == n.Name })
		if at >= 0 {
			s.hosts[at].Node = n
			hosts = append(hosts, s.hosts[at])
			continue
		}
		h, err := newHost(n)
		if err != nil {
			return nil, err
		}
		hosts, fresh = append(hosts, h), append(fresh, h)
	}
	s.links.adopt(&was, next)
	s.Topology, s.hosts = *next, hosts
	return fresh, nil
}

// adopt finds the links of one topology in another.
func (ls *links) adopt(was, next *Topology) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	all := map[leg]*link{}
	for at, l := range ls.all {
		node := slices.IndexFunc(next.Nodes, func(n Node) bool { return n.Name == was.Nodes[at.node].Name })
		if node >= 0 && at.iface < len(next.Nodes[node].Interfaces) {
			l.leg = leg{node, at.iface}
			all[l.leg] = l
		}
	}
	ls.all = all
}

// introduce lets `ip netns` of the nodes that were there before know a new one. That fails on a
// machine that hides parts of /proc, and nothing else depends on it.
func (s *supervisor) introduce(n *host, fresh []*host) {
	ns, err := n.netns()
	if err != nil {
		return
	}
	defer ns.Close()
	for _, h := range s.hosts {
		if !slices.Contains(fresh, h) {
			_ = h.try(func() error {
				return unix.Mount(fmt.Sprintf("/proc/self/fd/%d", ns.Fd()), filepath.Join(netnsDir, n.Name), "", unix.MS_BIND, "")
			})
		}
	}
}

// on does something at a node, if it is there.
func (s *supervisor) on(node string, do func(*host) error) error {
	h, err := s.host(node)
	if err != nil {
		return err
	}
	return do(h)
}

// removeNode ends all processes of a node and takes it away.
func (s *supervisor) removeNode(name string) error {
	h, err := s.host(name)
	if err != nil {
		return err
	}
	for _, r := range slices.Clone(s.services) {
		if r.host == h {
			if err := s.removeService(name, r.Name); err != nil {
				return err
			}
		}
	}
	if err := s.signalAll(h, unix.SIGKILL); err != nil {
		return err
	}
	for i := range h.Interfaces {
		if err := s.unplug(name, i); err != nil {
			return err
		}
	}
	for _, o := range s.hosts {
		_ = o.try(func() error { return unix.Unmount(filepath.Join(netnsDir, name), unix.MNT_DETACH) })
	}
	if err := unix.Unmount(filepath.Join(netnsDir, name), unix.MNT_DETACH); err != nil {
		return fmt.Errorf("lab: node %s: %w", name, err)
	}
	s.state.Lock()
	s.hosts = slices.DeleteFunc(s.hosts, func(o *host) bool { return o == h })
	s.state.Unlock()
	h.nl.Close()
	close(h.work)                                // its thread ends, and the namespaces with it
	_ = os.Remove(filepath.Join(netnsDir, name)) // a command that has just begun may still have it mounted
	return os.RemoveAll(h.Directory())
}

// removeService ends a service for good.
func (s *supervisor) removeService(node, name string) error {
	at := slices.IndexFunc(s.services, func(r *running) bool { return r.host.Name == node && r.Name == name })
	if at < 0 {
		return nil
	}
	s.services[at].kill()
	s.state.Lock()
	s.services = slices.Delete(s.services, at, at+1)
	s.state.Unlock()
	return nil
}

// addService starts a service that is new.
func (s *supervisor) addService(node string, sv Service) error {
	h, err := s.host(node)
	if err != nil {
		return err
	}
	r := &running{Service: sv, host: h, log: &tail{}}
	if err := s.launch(r); err != nil {
		return err
	}
	s.state.Lock()
	s.services = append(s.services, r)
	s.state.Unlock()
	if err := r.await(); err != nil {
		return errors.Join(err, s.removeService(node, sv.Name))
	}
	return nil
}

// retell changes what is said of a service that goes on.
func (s *supervisor) retell(node string, sv Service) error {
	for _, r := range s.services {
		if r.host.Name == node && r.Name == sv.Name {
			r.mu.Lock()
			r.Service = sv
			r.mu.Unlock()
		}
	}
	return nil
}

// takeBack undoes a set-up command. Where that fails, it was undone already, and that is noted.
func (s *supervisor) takeBack(h *host, c Command) error {
	var err error
	if len(c) == 6 && slices.Equal(c[:3], Command{"ip", "addr", "del"}) {
		var a Address
		if a, err = parseAddress(c[3]); err == nil {
			err = h.removeAddress(c[5], a)
		}
	} else {
		err = s.setup(h, c)
	}
	if err != nil {
		s.notes = append(s.notes, err.Error())
	}
	return nil
}
