package ipvsadm

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"

	"uvs/forwarder/config"
)

// mergeSort sorts by merging halves, stably. ipvsadm compares numbers by a 32-bit difference
// that wraps, which is not a total order: 10.0.0.1 comes after 192.168.0.1, and the order of
// three addresses that are far apart depends on the algorithm, which is that of the GNU C
// library's qsort(3).
func mergeSort[T any](list []T, compare func(a, b T) int) {
	if len(list) < 2 {
		return
	}
	left, right := slices.Clone(list[:len(list)/2]), list[len(list)/2:]
	mergeSort(left, compare)
	mergeSort(right, compare)
	at := 0
	for len(left) > 0 && len(right) > 0 {
		if compare(left[0], right[0]) <= 0 {
			list[at], left = left[0], left[1:]
		} else {
			list[at], right = right[0], right[1:]
		}
		at++
	}
	copy(list[at:], left)
}

// wrapped compares as the sign of a 32-bit difference.
func wrapped(a, b uint32) int { return int(int32(a - b)) }

func compareServices(a, b config.ServiceState) int {
	x, y := a.Key.Normal(), b.Key.Normal()
	return cmp.Or(
		wrapped(x.Mark, y.Mark),
		cmp.Compare(x.Family, y.Family),
		cmp.Compare(x.Proto, y.Proto),
		compareAddrs(x.Addr, y.Addr),
		cmp.Compare(x.Port, y.Port),
	)
}

func compareServers(a, b config.ServerState) int {
	return cmp.Or(compareAddrs(a.Addr, b.Addr), cmp.Compare(a.Port, b.Port))
}

// compareAddrs compares word by word; an IPv4 address is the first of four.
func compareAddrs(a, b netip.Addr) int {
	if !a.Is6() {
		return wrapped(word(a, 0), word(b, 0))
	}
	return cmp.Or(
		wrapped(word(a, 0), word(b, 0)),
		wrapped(word(a, 1), word(b, 1)),
		wrapped(word(a, 2), word(b, 2)),
		wrapped(word(a, 3), word(b, 3)),
	)
}

func word(a netip.Addr, i int) uint32 {
	bytes := a.AsSlice()
	if 4*i >= len(bytes) {
		return 0
	}
	return binary.BigEndian.Uint32(bytes[4*i:])
}

// KernelOrder sorts services, and the servers of each, from the order of addition into the
// order in which the kernel lists them (ip_vs_ctl.c, ip_vs_genl_dump_services): services by
// the buckets of a hash table, marks last, within a bucket the newest first; servers the
// newest first. The kernel mixes a memory address into the hash; we do not.
func KernelOrder(services []config.ServiceState) {
	slices.Reverse(services)
	slices.SortStableFunc(services, compareBuckets)
	for _, v := range services {
		slices.Reverse(v.Servers)
	}
}

func compareBuckets(a, b config.ServiceState) int {
	return cmp.Or(
		cmp.Compare(min(a.Mark, 1), min(b.Mark, 1)),
		cmp.Compare(bucket(a.Key), bucket(b.Key)),
	)
}

// bucket is the hash of ip_vs_svc_hashkey and ip_vs_svc_fwm_hashkey.
func bucket(k config.Key) uint32 {
	const mask = 255
	if k.Mark != 0 {
		return k.Mark & mask
	}
	fold := word(k.Addr, 0) ^ word(k.Addr, 1) ^ word(k.Addr, 2) ^ word(k.Addr, 3)
	port := uint32(k.Port)
	return (uint32(k.Proto) ^ fold ^ fold>>8 ^ port>>8 ^ port) & mask
}
