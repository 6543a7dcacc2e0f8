package forwarder

// checkedGuard is a Guard that can tell whether it is still there.
type checkedGuard interface {
	Check() error
}

// checkGuard makes the guard anew if it is gone, and tells of it once. It is called by
// the housekeeping, with what it returned the last time.
func (fw *Forwarder) checkGuard(lost bool) bool {
	g, ok := fw.conf.Guard.(checkedGuard)
	if !ok {
		return false
	}
	err := g.Check()
	if err == nil {
		if lost {
			fw.log.Info("the guard is back", "event", "guard-restored")
		}
		return false
	}
	if !lost {
		fw.log.Warn("the host's own stack is not kept away any more; making the guard anew", "event", "guard-lost", "err", err)
	}
	if err := fw.RebuildPlan(); err != nil && !lost {
		fw.log.Error("apply configuration", "err", err)
	}
	return true
}
