package forwarder

import (
	"fmt"

	"uvs/forwarder/config"
	"uvs/forwarder/state"
)

// restore adopts what an earlier director left in the state: servers first, which the
// connections name.
func (fw *Forwarder) restore() error {
	if fw.conf.State == nil {
		return nil
	}
	if err := fw.restoreSettings(); err != nil {
		return err
	}
	if err := fw.RestoreDaemons(); err != nil {
		return err
	}
	if err := fw.adoptConns(); err != nil {
		return err
	}
	return fw.restoreCalls()
}

// restoreSettings adopts services, timeouts and parameters.
func (fw *Forwarder) restoreSettings() error {
	if err := fw.Table.Restore(fw.conf.State); err != nil {
		return err
	}
	var t config.Timeouts
	if err := fw.RestoreSetting(state.Timeouts, &t); err != nil {
		return err
	}
	r := *fw.rules.Load()
	r.Set(t.TCP, t.TCPFin, t.UDP)
	fw.rules.Store(&r)
	var values map[string]string
	if err := fw.RestoreSetting(state.Sysctls, &values); err != nil {
		return err
	}
	next := *fw.sysctl.Load()
	for name, value := range values {
		if err := next.Set(name, value); err != nil {
			return &state.Refused{File: "config", Why: fmt.Sprintf("made by another uvs: %s: %v", name, err)}
		}
	}
	fw.sysctl.Store(&next)
	fw.setRules(&next)
	return nil
}
