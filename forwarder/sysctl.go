package forwarder

import (
	"uvs/forwarder/config"
	"uvs/forwarder/state"
	"uvs/forwarder/sysctl"
)

// Sysctls returns all settings with their values and meanings, sorted by name.
func (fw *Forwarder) Sysctls() []config.Sysctl {
	now := *fw.sysctl.Load()
	return now.List()
}

// SetSysctl changes the setting with the given name. It may fail with
// config.ErrInvalid.
func (fw *Forwarder) SetSysctl(name, value string) error {
	if err := fw.setSysctl(name, value); err != nil {
		return err
	}
	fw.defend()
	return nil
}

func (fw *Forwarder) setSysctl(name, value string) error {
	fw.mu.Lock()
	defer fw.mu.Unlock()
	next := *fw.sysctl.Load()
	if err := next.Set(name, value); err != nil {
		return err
	}
	fw.sysctl.Store(&next)
	fw.setRules(&next)
	fw.SaveSetting(state.Sysctls, valuesOf(&next))
	return nil
}

// valuesOf returns the settings by name.
func valuesOf(s *sysctl.Values) map[string]string {
	all := map[string]string{}
	for _, v := range s.List() {
		all[v.Name] = v.Value
	}
	return all
}

// setRules tells the state machine of the settings that concern it.
func (fw *Forwarder) setRules(s *sysctl.Values) {
	r := *fw.rules.Load()
	r.SloppyTCP, r.SloppySCTP = s.SloppyTCP != 0, s.SloppySCTP != 0
	r.SecureTCP = s.SecureTCP >= 2
	fw.rules.Store(&r)
}
