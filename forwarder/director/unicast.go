package director

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"time"
)

// localNetworks has the broadcast addresses of this network namespace, which IPVS refuses as
// addresses of real servers. It reads them from the kernel at most once a second.
type localNetworks struct {
	mu        sync.Mutex
	asked     time.Time
	broadcast map[netip.Addr]bool
}

// unicast reports whether an address may be that of a real server.
func (n *localNetworks) unicast(a netip.Addr) bool {
	if !a.Is4() {
		return true
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if time.Since(n.asked) > time.Second {
		n.asked = time.Now()
		n.broadcast = broadcasts()
	}
	return !n.broadcast[a]
}

func broadcasts() map[netip.Addr]bool {
	all := map[netip.Addr]bool{}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return all
	}
	for _, addr := range addrs {
		network, ok := addr.(*net.IPNet)
		if !ok || network.IP.To4() == nil {
			continue
		}
		ones, bits := network.Mask.Size()
		if bits != 32 || ones > 30 {
			continue
		}
		last := binary.BigEndian.Uint32(network.IP.To4()) | 1<<(32-ones) - 1
		all[netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, last)))] = true
	}
	return all
}
