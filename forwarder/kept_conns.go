package forwarder

import (
	"errors"
	"time"

	"uvs/conntrack"
	"uvs/forwarder/state"
)

// connsFile is the name in the state of the connection table.
const connsFile = "conns"

// newTable makes the connection table, in the memory that is given or in the state's.
// One that the last director made with another capacity, or in the layout before, is
// converted.
func (fw *Forwarder) newTable() (*conntrack.Table, error) {
	c := &fw.conf
	if c.State == nil || c.Memory != nil {
		return fw.tableIn(c.Memory, c.Base)
	}
	f, err := c.State.Mapping(connsFile)
	if err != nil {
		return nil, err
	}
	written := false
	if f != nil {
		if _, written, err = conntrack.Inspect(f.Bytes()); err != nil {
			return nil, refuseConns(err)
		}
	}
	if !written {
		return fw.tableInFile(c.State.Create(connsFile, conntrack.Size(c.MaxConns), nil))
	}
	t, err := fw.tableInFile(f, nil)
	if !errors.Is(err, conntrack.ErrOlder) {
		return t, err
	}
	defer f.Close()
	return fw.tableInFile(fw.convertConns(f))
}

func (fw *Forwarder) tableIn(memory []byte, base time.Duration) (*conntrack.Table, error) {
	fw.conf.Memory = memory
	return conntrack.New(conntrack.Config{Capacity: fw.conf.MaxConns, Gone: fw.connGone, Memory: memory, Base: base})
}

// tableInFile makes the table in a file of the state, if that could be opened.
func (fw *Forwarder) tableInFile(f *state.File, err error) (*conntrack.Table, error) {
	if err != nil {
		return nil, err
	}
	began := fw.conf.State.Began()
	t, err := fw.tableIn(f.Bytes(), began)
	switch {
	case err == nil && t.Header().Base != began:
		return nil, refuseConns(errors.Join(errors.New("it is of another state"), t.Close()))
	case errors.Is(err, conntrack.ErrDamaged), errors.Is(err, conntrack.ErrForeign), errors.Is(err, conntrack.ErrNewer):
		return nil, refuseConns(err)
	}
	return t, err
}

// convertConns puts a file in the place of f that has its connections in this director's
// form.
func (fw *Forwarder) convertConns(f *state.File) (*state.File, error) {
	c, left := &fw.conf, 0
	fit, err := c.State.Create(connsFile, conntrack.Size(c.MaxConns), func(to []byte) (err error) {
		left, err = conntrack.Convert(to, c.MaxConns, f.Bytes())
		return err
	})
	switch {
	case errors.Is(err, conntrack.ErrDamaged):
		return nil, refuseConns(err)
	case left > 0:
		fw.log.Warn("the table is smaller than the last director's: some connections have no place", "event", "connections-lost", "lost", left)
	}
	return fit, err
}

// adoptConns takes over the connections that the last director left in the state.
func (fw *Forwarder) adoptConns() error {
	if !fw.Inherited() {
		return nil
	}
	found, err := fw.Adopt()
	if err != nil {
		return refuseConns(err)
	}
	fw.log.Info("connections adopted", "event", "connections-adopted", "connections", found.Conns, "templates", found.Templates,
		"expired", found.Expired, "without server", found.Unknown, "twice", found.Duplicates)
	return nil
}

func refuseConns(err error) error {
	return &state.Refused{File: connsFile, Why: err.Error()}
}
