package director

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"uvs/forwarder"
	"uvs/forwarder/neigh"
	"uvs/forwarder/state"
)

// Values of Config.State that are no directories.
const (
	StateNone   = "none"   // nothing outlives the director
	StateMemory = "memory" // files without a name, for whoever keeps their descriptors
)

// openState takes the lease of what the director keeps, which is where the one that it
// replaces has it.
func (d *Director) openState() error {
	if err := d.findState(); err != nil {
		return err
	}
	p := d.before.Load()
	if p == nil || p.state == "" || d.state != nil && d.state.Where() == p.state {
		return nil
	}
	return fmt.Errorf("director: the one that runs has its state in %s; give this one the same --state", p.state)
}

func (d *Director) findState() error {
	c := &d.conf
	if c.State == StateNone || c.State == "" && c.Neighbours != nil {
		return nil
	}
	if c.State != "" {
		return d.openStateAt(c.State)
	}
	dir, err := state.DefaultDir(c.stateName())
	if err == nil {
		err = d.openStateAt(dir)
	}
	var inUse *state.InUseError
	if err == nil || errors.As(err, &inUse) {
		return err
	}
	c.Log.Warn("no directory for the state: it ends with this process, unless somebody keeps its descriptors", "why", err)
	if err := d.openStateAt(StateMemory); err != nil {
		c.Log.Warn("no state either in memory: a kill loses all", "why", err)
	}
	return nil
}

func (d *Director) openStateAt(dir string) (err error) {
	o := state.Options{Dir: dir, Log: d.conf.Log, Whole: d.before.Load() != nil}
	if dir == StateMemory {
		o.Dir, o.Kept, o.Keep = "", d.keptState(), d.keepState
	} else if o.Dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("state: %w", err)
	}
	d.state, err = state.Open(o)
	return err
}

// statePrefix begins the names under which memory files are kept.
const statePrefix = "state-"

// keptState returns the memory files of the director before, by their names.
func (d *Director) keptState() map[string]*os.File {
	all := map[string]*os.File{}
	for _, name := range d.conf.Store.Names(statePrefix) {
		if f := d.conf.Store.Take(name); f != nil {
			all[strings.TrimPrefix(name, statePrefix)] = f
		}
	}
	return all
}

// keepState keeps a memory file for the next director.
func (d *Director) keepState(name string, f *os.File) error {
	return d.conf.Store.Keep(statePrefix+name, f)
}

// stateName sets the state of one that shares its network namespace apart from the
// others' there.
func (c *Config) stateName() string {
	if !c.Share {
		return ""
	}
	sum := sha256.Sum256([]byte(c.Socket))
	return hex.EncodeToString(sum[:4])
}

// newForwarder makes an engine that adopts the state, or an empty one if what is there
// cannot be true.
func (d *Director) newForwarder(f forwarder.Config) (err error) {
	f.State = d.state
	d.Forwarder, err = forwarder.New(f)
	var refused *state.Refused
	if errors.As(err, &refused) && d.before.Load() == nil { // else the director before goes on with it
		if err := d.state.SetAside(refused); err != nil {
			return err
		}
		d.Forwarder, err = forwarder.New(f)
	}
	if err == nil && d.state.Adopted() {
		d.conf.Log.Info("state adopted", "event", "state-adopted", "from", d.state.Where(), "services", d.Load().Len(), "age", d.state.Age().Round(time.Second))
	}
	return err
}

var rulesKey = state.Key{Kind: state.Director, Number: state.RulesFile}

var hostKey = state.Key{Kind: state.Director, Number: state.Host}

// hostNote is what has to be undone on the host after a kill.
type hostNote struct {
	GRO []int `json:"gro"` // interfaces where it was turned on, by their indexes
}

// noteHost takes over what the director before changed on the host, and keeps a note of what
// this one changes.
func (d *Director) noteHost() {
	d.gro.Resume(d.hostNote().GRO)
	d.gro.OnChange = func(indexes []int) {
		note, err := json.Marshal(hostNote{indexes})
		if err == nil {
			d.state.Commit(state.Change{Key: hostKey, Value: note})
		}
	}
}

func (d *Director) hostNote() (note hostNote) {
	if text := d.state.Record(hostKey); text != nil {
		_ = json.Unmarshal(text, &note) // it has a checksum, which was right
	}
	return note
}

var neighboursKey = state.Key{Kind: state.Director, Number: state.Neighbours}

// noteEvery is how often a change among the neighbours is kept.
const noteEvery = time.Second

// rememberNeighbours has the network's table begin with what the director before knew.
func (d *Director) rememberNeighbours() {
	var all []neigh.Neighbour
	if text := d.state.Record(neighboursKey); text != nil && json.Unmarshal(text, &all) == nil {
		d.table.Remember(all)
	}
}

// noteNeighbours keeps the neighbours until the context ends.
func (d *Director) noteNeighbours(ctx context.Context) {
	ticker := time.NewTicker(noteEvery)
	defer ticker.Stop()
	for noted := uint64(0); d.table != nil && d.state != nil; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if now := d.table.Changes(); now != noted {
			noted = now
			d.keepNeighbours()
		}
	}
}

func (d *Director) keepNeighbours() {
	if d.table == nil || d.state == nil {
		return
	}
	if note, err := json.Marshal(d.table.Neighbours()); err == nil {
		d.state.Commit(state.Change{Key: neighboursKey, Value: note})
	}
}

// loadRules loads the rules file, unless the state is what came of it: a file that is as
// it was then knows less than the state.
func (d *Director) loadRules(ctx context.Context) error {
	if !d.state.Adopted() {
		return d.Reload(ctx)
	}
	if err := d.RebuildPlan(); err != nil || d.before.Load() != nil {
		return err // the director before may have to go on: the file's turn comes when this one works
	}
	return d.followRules(ctx)
}

// followRules loads the rules file if it is not what the state came from.
func (d *Director) followRules(ctx context.Context) error {
	if d.rules.Unchanged(string(d.state.Record(rulesKey))) {
		d.conf.Log.Info("the rules file is as the last director knew it: what ran goes on", "file", d.conf.Rules)
		return nil
	}
	return d.Reload(ctx)
}

// followLater is followRules for a director that works already.
func (d *Director) followLater(ctx context.Context) {
	if err := d.followRules(ctx); err != nil {
		d.conf.Log.Error("the rules stay as they are", "event", "rules-refused", "error", err)
	}
}

// noteRules keeps what the rules file had when it was last read or written.
func (d *Director) noteRules() {
	if digest := d.rules.Digest(); digest != "" {
		d.state.Commit(state.Change{Key: rulesKey, Value: []byte(digest)})
	}
}

// closeState leaves the state to the next director. One without any configuration is
// not worth keeping.
func (d *Director) closeState() {
	if d.state == nil {
		return
	}
	end := d.state.Close
	if d.state.Empty() {
		end = d.state.Remove
	}
	if err := end(); err != nil {
		d.conf.Log.Warn("state", "err", err)
	}
}
