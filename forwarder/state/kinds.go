package state

// Kinds of records. Their numbers are part of the layout.
const (
	Director Kind = 1 + iota // number 0: the counters of all services, 1: the rules file, 2: the host, 3: its neighbours
	Service
	Server
	Mark
	Setting
	Call // Call-ID of a template, by its number in the connection table
)

// Numbers of Setting.
const (
	Timeouts = iota
	Sysctls
	SyncDaemons
	settings
)

// Numbers of Director.
const (
	Totals = iota
	RulesFile
	Host       // what has to be undone on the host after a kill
	Neighbours // MAC addresses in use
	directors
)

// known reports whether this program knows what a record is about. It must not leave
// out what a newer one has configured.
func (k Key) known() bool {
	switch k.Kind {
	case Director:
		return k.Number < directors
	case Setting:
		return k.Number < settings
	}
	return k.Kind > Director && k.Kind <= Call
}
