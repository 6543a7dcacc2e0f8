package guard

import (
	"encoding/binary"

	"github.com/google/nftables"
)

// The sets of the table, each twice: for IPv4 and, at the next number, for IPv6.
const (
	virtual     = 2 * iota // destination address, protocol, port
	protocols              // destination address, protocol: all ports of it
	addresses              // destination address: everything
	local                  // destination address: everything unless it is the host's own
	servers                // source address, protocol, port
	sources                // source address, protocol: all ports of it
	origins                // source address: everything
	connTuples             // destination address, protocol, port: of AddTuple
	connReplies            // source and destination address, protocol and ports: of AddReply
	fragmentsTo            // destination address, protocol of later fragments
	fragmentsOf            // source address, protocol of later fragments
	numSets
)

var setNames = [numSets]string{
	"virtual", "virtual6", "protocols", "protocols6", "addresses", "addresses6",
	"local", "local6", "servers", "servers6", "sources", "sources6", "origins", "origins6",
	"conns", "conns6", "replies", "replies6",
	"fragments_to", "fragments_to6", "fragments_of", "fragments_of6",
}

// fields is how many of address, protocol and port the elements have; those of connReplies
// also have another address and port.
var fields = [numSets]int{
	3, 3, 2, 2, 1, 1,
	1, 1, 3, 3, 2, 2, 1, 1,
	3, 3, 5, 5,
	2, 2, 2, 2,
}

// elements are the members of all sets, as the kernel has them: each field is padded to
// 4 bytes. Several tuples can be the same member, so members are counted.
type elements [numSets]map[string]int

func (e *elements) add(set int, t Tuple) {
	addr := t.Addr.Unmap()
	if !addr.IsValid() {
		return
	}
	if addr.Is6() {
		set++
	}
	if e[set] == nil {
		e[set] = make(map[string]int)
	}
	key := addr.WithZone("").AsSlice()
	if fields[set] > 1 {
		key = append(key, t.Proto, 0, 0, 0)
	}
	if fields[set] > 2 {
		key = append(binary.BigEndian.AppendUint16(key, t.Port), 0, 0)
	}
	e[set][string(key)]++
}

// elements distributes the tuples over the sets.
func (r *Rules) elements() elements {
	var e elements
	for _, t := range r.Virtual {
		e.tuple(t, virtual, protocols, addresses, fragmentsTo)
	}
	for _, t := range r.Servers {
		e.tuple(t, servers, sources, origins, fragmentsOf)
	}
	for _, a := range r.Local {
		e.add(local, Tuple{Addr: a})
	}
	return e
}

func (e *elements) tuple(t Tuple, exact, proto, addr, fragments int) {
	switch {
	case t.Proto == 0:
		e.add(addr, t)
	case t.Port == 0:
		e.add(proto, t)
	default:
		e.add(exact, t)
		e.add(fragments, t)
	}
}

// makeSets describes the sets to the kernel.
func makeSets(table *nftables.Table) (sets [numSets]*nftables.Set) {
	for i := range sets {
		parts := []nftables.SetDatatype{nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService}
		if i%2 == 1 {
			parts[0] = nftables.TypeIP6Addr
		}
		parts = append(parts, parts[0], parts[2])
		sets[i] = &nftables.Set{
			Table: table, ID: uint32(i + 1), Name: setNames[i],
			KeyType: parts[0], Concatenation: fields[i] > 1,
		}
		if fields[i] > 1 {
			sets[i].KeyType = nftables.MustConcatSetType(parts[:fields[i]]...)
		}
	}
	return sets
}

// differences returns the members of a that are not in b.
func differences(a, b map[string]int) []nftables.SetElement {
	var out []nftables.SetElement
	for k := range a {
		if b[k] == 0 {
			out = append(out, nftables.SetElement{Key: []byte(k)})
		}
	}
	return out
}

// count adds the members of d to those of e, n times, and returns those that have
// appeared or disappeared.
func (e *elements) count(d *elements, n int) (changed [numSets][]nftables.SetElement) {
	for set := range d {
		for key, times := range d[set] {
			if e[set] == nil {
				e[set] = make(map[string]int)
			}
			was := e[set][key]
			is := max(was+n*times, 0)
			if is == 0 {
				delete(e[set], key)
			} else {
				e[set][key] = is
			}
			if (was == 0) != (is == 0) {
				changed[set] = append(changed[set], nftables.SetElement{Key: []byte(key)})
			}
		}
	}
	return changed
}
