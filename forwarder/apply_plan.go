package forwarder

import (
	"fmt"
	"maps"
	"net/netip"

	"uvs/forwarder/plan"
)

// RebuildPlan rebuilds everything that depends on the services: the addresses that are
// answered and announced, the guard, and the filters of the ports. It is called when
// the host or its interfaces have changed, and takes time proportional to the number of
// services.
func (fw *Forwarder) RebuildPlan() error {
	fw.planLock.Lock()
	defer fw.planLock.Unlock()
	return fw.applyNewPlan()
}

// newPlan returns what follows from the services now.
func (fw *Forwarder) newPlan() *plan.Plan {
	p := plan.New()
	p.Follow(fw.Table, fw.locals.InUse(), fw.planHost())
	return p
}

func (fw *Forwarder) planHost() plan.Host {
	return plan.Host{Routes: fw.neigh, Redirected: fw.redirectsHost(), ServerAddrs: len(fw.conf.Interfaces) > 0, VIPRole: fw.conf.VIPRole}
}

// updatePlan does what RebuildPlan does for a change of the configuration, before the
// caller gets its result, in time proportional to the change.
func (fw *Forwarder) updatePlan() error {
	fw.planLock.Lock()
	defer fw.planLock.Unlock()
	if fw.applied == nil {
		return fw.applyNewPlan()
	}
	p := fw.applied
	fw.applied = nil // unless everything succeeds
	guarded := p.Guards()
	d := p.Follow(fw.Table, fw.locals.InUse(), fw.planHost())
	fw.view.Store(p.View())
	fw.neigh.ChangeOwned(d.Answer, d.Release)
	if d.Silent {
		fw.logRoles(p)
	}
	if d.Quiet {
		fw.quiet.kick()
	}
	fw.warnExcluded(d.NewServers, d.GoneServers)
	if err := fw.setFilters(p); err != nil {
		return err
	}
	if err := fw.changeGuard(p, &d, guarded); err != nil {
		return err
	}
	fw.applied = p
	return nil
}

func (fw *Forwarder) applyNewPlan() error {
	p := fw.newPlan()
	fw.applied = nil
	fw.view.Store(p.View())
	fw.neigh.SetOwned(p.Answered())
	fw.logRoles(p)
	fw.quiet.kick()
	maps.DeleteFunc(fw.checkedServers, func(a netip.Addr, _ bool) bool { return !p.HasServerAddr(a) })
	fw.warnExcluded(p.ServerAddrs(), nil)
	if err := fw.setFilters(p); err != nil {
		return err
	}
	if err := fw.setGuard(p); err != nil {
		return err
	}
	fw.applied = p
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
	if err := fw.conf.Guard.Set(p.Guard(fw.usedLinks())); err != nil {
		return fmt.Errorf("forwarder: guard: %w", err)
	}
	return nil
}

func (fw *Forwarder) rebuildOrLog() {
	if err := fw.RebuildPlan(); err != nil {
		fw.log.Error("apply configuration", "err", err)
	}
	fw.expireNoDest()
}

func (fw *Forwarder) updateOrLog() {
	if err := fw.updatePlan(); err != nil {
		fw.log.Error("apply configuration", "err", err)
	}
	fw.expireNoDest()
}

// planOutdated reports whether the last plan covers what no connection needs any more,
// or lacks what a newer one needs: a plan follows from the connections too, of servers
// that were removed or got another method, and of local addresses that no service has
// any more.
func (fw *Forwarder) planOutdated() bool {
	last := fw.view.Load()
	return fw.Table.RepliesOutdated() || last.LocalsOutdated(fw.locals.InUse()) ||
		fw.redirectsHost() && !last.HasOrphans(fw.Table.Orphans())
}
