package forwarder

import (
	"fmt"
	"maps"
	"net/netip"

	"uvs/forwarder/plan"
)

// Settle rebuilds everything that depends on the services: the addresses that are
// answered and announced, the guard, and the filters of the ports. It is called when
// the host or its interfaces have changed, and takes time proportional to the number of
// services.
func (fw *Forwarder) Settle() error {
	fw.settling.Lock()
	defer fw.settling.Unlock()
	return fw.settleAnew()
}

// plan returns what follows from the services now.
func (fw *Forwarder) plan() *plan.Plan {
	p := plan.New()
	p.Follow(fw.Table, fw.locals.InUse(), fw.planHost())
	return p
}

func (fw *Forwarder) planHost() plan.Host {
	return plan.Host{Routes: fw.neigh, Leads: fw.leadsHost(), Reaches: len(fw.conf.Interfaces) > 0}
}

// settleChange does what Settle does for a change of the configuration, before the
// caller gets its result, in time proportional to the change.
func (fw *Forwarder) settleChange() error {
	fw.settling.Lock()
	defer fw.settling.Unlock()
	if fw.settled == nil {
		return fw.settleAnew()
	}
	p := fw.settled
	fw.settled = nil // unless everything succeeds
	guarded := p.Guards()
	d := p.Follow(fw.Table, fw.locals.InUse(), fw.planHost())
	fw.view.Store(p.View())
	fw.neigh.ChangeOwned(d.Answer, d.Release)
	fw.leftOut(d.Reach, d.Leave)
	if err := fw.setFilters(p); err != nil {
		return err
	}
	if err := fw.changeGuard(p, &d, guarded); err != nil {
		return err
	}
	fw.settled = p
	return nil
}

func (fw *Forwarder) settleAnew() error {
	p := fw.plan()
	fw.settled = nil
	fw.view.Store(p.View())
	fw.neigh.SetOwned(p.Answered())
	maps.DeleteFunc(fw.reached, func(a netip.Addr, _ bool) bool { return !p.Reaches(a) })
	fw.leftOut(p.Reached(), nil)
	if err := fw.setFilters(p); err != nil {
		return err
	}
	if err := fw.setGuard(p); err != nil {
		return err
	}
	fw.settled = p
	return nil
}

// changeGuard applies a difference to the guard. All rules are set anew if there was
// nothing to guard before, or is nothing now.
func (fw *Forwarder) changeGuard(p *plan.Plan, d *plan.Difference, guarded bool) error {
	if fw.conf.Guard == nil || p.Guards() != guarded {
		return fw.setGuard(p)
	}
	err := fw.conf.Guard.Change(p.Change(d))
	if err == nil {
		return nil
	}
	fw.log.Warn("guard: changing the rules failed, making them anew", "err", err)
	return fw.setGuard(p)
}

func (fw *Forwarder) setGuard(p *plan.Plan) error {
	if fw.conf.Guard == nil {
		return nil
	}
	if err := fw.conf.Guard.Set(p.Guard(fw.served())); err != nil {
		return fmt.Errorf("forwarder: guard: %w", err)
	}
	return nil
}

func (fw *Forwarder) settleOrLog() {
	if err := fw.Settle(); err != nil {
		fw.log.Error("apply configuration", "err", err)
	}
	fw.expireServerless()
}

func (fw *Forwarder) settleChangeOrLog() {
	if err := fw.settleChange(); err != nil {
		fw.log.Error("apply configuration", "err", err)
	}
	fw.expireServerless()
}
