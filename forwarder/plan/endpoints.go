package plan

import (
	"maps"

	"uvs/forwarder/service"
)

// endpoints maps addresses and endpoints to values. It never changes once it is
// published, so workers read it without a lock; a change copies one of its maps.
type endpoints[V any] struct {
	shard [service.Shards]map[endpoint]V
}

func (e *endpoint) shard() int {
	h := uint32(e.addr[15]) + 31*uint32(e.addr[14]) + 131*uint32(e.addr[13]) + uint32(e.port) + uint32(e.port>>8)
	return int(h % service.Shards)
}

func (t *endpoints[V]) get(e endpoint) (V, bool) {
	v, ok := t.shard[e.shard()][e]
	return v, ok
}

// has reports whether an address is there.
func (t *endpoints[V]) has(addr [16]byte) bool {
	_, ok := t.get(endpoint{addr: addr})
	return ok
}

// endpointsDraft is such a map under construction.
type endpointsDraft[V any] struct {
	endpoints[V]
	own [service.Shards]bool // copied since the last publication
}

// edit returns the map that e belongs to, for changes.
func (d *endpointsDraft[V]) edit(e endpoint) map[endpoint]V {
	i := e.shard()
	switch {
	case d.shard[i] == nil:
		d.shard[i] = map[endpoint]V{}
	case !d.own[i]:
		d.shard[i] = maps.Clone(d.shard[i])
	}
	d.own[i] = true
	return d.shard[i]
}

// put adds e, or removes it.
func (d *endpointsDraft[V]) put(e endpoint, v V, on bool) {
	if m := d.edit(e); on {
		m[e] = v
	} else {
		delete(m, e)
	}
}

// publish returns the map for readers.
func (d *endpointsDraft[V]) publish() endpoints[V] {
	d.own = [service.Shards]bool{}
	return d.endpoints
}

// ServerFlow is a real server whose datagrams from its port start connections of its
// service.
type ServerFlow struct {
	Service *service.Service
	Server  *service.Server
}
