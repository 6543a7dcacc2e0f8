package ipvsnl

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"uvs/forwarder/config"
	"uvs/sched"
)

// attributes are the payloads of attributes by their number, nil for those that are missing.
type attributes [16][]byte

// A kind is what an attribute has to look like.
type kind struct {
	size int  // bytes that it has at least; of text and addresses, at most
	text bool // it ends with a zero byte, which is not counted
	most bool // size is the most
}

// Kinds of attributes (include/net/netlink.h).
var (
	oneByte   = kind{size: 1}
	twoBytes  = kind{size: 2}
	fourBytes = kind{size: 4}
	anyBytes  = kind{most: true, size: 1 << 16}
	address   = kind{most: true, size: 16}
)

func textOf(most int) kind { return kind{text: true, most: true, size: most} }

// policy has the kinds of the attributes that are known; others are ignored.
type policy [16]kind

// What the attributes of each level look like (ip_vs_ctl.c, ip_vs_cmd_policy and its kin).
var (
	topPolicy = policy{
		attrService: anyBytes, attrServer: anyBytes, attrDaemon: anyBytes,
		attrTimeoutTCP: fourBytes, attrTimeoutTCPFin: fourBytes, attrTimeoutUDP: fourBytes,
	}
	servicePolicy = policy{
		serviceFamily: twoBytes, serviceProtocol: twoBytes, serviceAddr: address, servicePort: twoBytes,
		serviceMark: fourBytes, serviceScheduler: textOf(15), servicePE: textOf(16),
		serviceFlags: {most: true, size: 8}, serviceTimeout: fourBytes, serviceNetmask: fourBytes, serviceStats: anyBytes,
	}
	serverPolicy = policy{
		serverAddr: address, serverPort: twoBytes, serverMethod: fourBytes, serverWeight: fourBytes,
		serverUpper: fourBytes, serverLower: fourBytes, serverActive: fourBytes, serverInactive: fourBytes,
		serverPersistent: fourBytes, serverStats: anyBytes, serverFamily: twoBytes, serverTunnelType: oneByte,
		serverTunnelPort: twoBytes, serverTunnelFlags: twoBytes,
	}
	daemonPolicy = policy{
		daemonState: fourBytes, daemonInterface: textOf(15), daemonSyncID: fourBytes, daemonMaxLen: twoBytes,
		daemonGroup: fourBytes, daemonGroup6: {size: 16}, daemonPort: twoBytes, daemonTTL: oneByte,
	}
)

// parse reads attributes. Of one that comes twice the last counts, and what is no attribute
// at the end is ignored (lib/nlattr.c, __nla_validate_parse).
func parse(b []byte, p policy) (found attributes, err error) {
	for len(b) >= unix.NLA_HDRLEN {
		size := int(native.Uint16(b))
		if size < unix.NLA_HDRLEN || size > len(b) {
			break
		}
		number := int(native.Uint16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER))
		payload := b[unix.NLA_HDRLEN:size:size]
		b = b[min((size+3)&^3, len(b)):]
		if number >= len(p) || p[number] == (kind{}) {
			continue
		}
		if err := p[number].check(payload); err != nil {
			return found, err
		}
		found[number] = payload
	}
	return found, nil
}

func (k kind) check(b []byte) error {
	switch {
	case k.text && len(b) == 0, k.text && len(upToZero(b)) > k.size, k.most && !k.text && len(b) > k.size, !k.most && len(b) < k.size:
		return unix.ERANGE
	case k.text && len(upToZero(b)) == len(b):
		return unix.EINVAL
	}
	return nil
}

// nested reads attributes within one that must be there.
func nested(b []byte, p policy) (attributes, error) {
	if b == nil {
		return attributes{}, unix.EINVAL
	}
	found, err := parse(b, p)
	if err != nil {
		return found, unix.EINVAL
	}
	return found, nil
}

func upToZero(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}

// have reports whether all these attributes are there.
func (a *attributes) have(numbers ...int) bool {
	for _, n := range numbers {
		if a[n] == nil {
			return false
		}
	}
	return true
}

func (a *attributes) u32(n int) uint32 {
	if a[n] == nil {
		return 0
	}
	return native.Uint32(a[n])
}

func (a *attributes) u16(n int) uint16 {
	if a[n] == nil {
		return 0
	}
	return native.Uint16(a[n])
}

// be16 returns a number in network byte order: a port.
func (a *attributes) be16(n int) uint16 {
	if a[n] == nil {
		return 0
	}
	return binary.BigEndian.Uint16(a[n])
}

func (a *attributes) u8(n int) uint8 {
	if a[n] == nil {
		return 0
	}
	return a[n][0]
}

func (a *attributes) text(n int) string { return string(upToZero(a[n])) }

// addr returns an address of a family; what is missing of it is zero.
func (a *attributes) addr(n int, family config.Family) netip.Addr {
	var b [16]byte
	copy(b[:], a[n])
	if family == config.IPv6 {
		return netip.AddrFrom16(b)
	}
	return netip.AddrFrom4([4]byte(b[:4]))
}

// familyOf returns a family by its number in the kernel.
func familyOf(number uint16) (config.Family, error) {
	switch number {
	case unix.AF_INET:
		return config.IPv4, nil
	case unix.AF_INET6:
		return config.IPv6, nil
	}
	return 0, unix.EAFNOSUPPORT
}

// keyOf returns the name of a service.
func keyOf(a attributes) (config.Key, error) {
	if !a.have(serviceFamily) || !a.have(serviceMark) && !a.have(serviceProtocol, serviceAddr, servicePort) {
		return config.Key{}, unix.EINVAL
	}
	family, err := familyOf(a.u16(serviceFamily))
	if err != nil {
		return config.Key{}, err
	}
	if a.have(serviceMark) {
		return config.Key{Mark: a.u32(serviceMark), Family: family}, nil
	}
	key := config.Key{
		Proto: config.Proto(a.u16(serviceProtocol)), Addr: a.addr(serviceAddr, family), Port: a.be16(servicePort), Family: family,
	}
	return key, key.Validate()
}

// wholeService reads what a service is beside its name. Flags that its message does not
// speak of stay as they are.
func (c *call) wholeService(a attributes, s *config.Service) error {
	if !a.have(serviceScheduler, serviceFlags, serviceTimeout, serviceNetmask) {
		return unix.EINVAL
	}
	var both [8]byte
	copy(both[:], a[serviceFlags])
	flags, mask := native.Uint32(both[:]), native.Uint32(both[4:])
	flags &= mask
	if ^mask&ourFlags != 0 {
		if old, err := c.Director.Service(c.ctx, s.Key); err == nil {
			flags |= flagsOf(old.Service) &^ mask
		}
	}
	if s.Scheduler, s.PE = a.text(serviceScheduler), a.text(servicePE); s.Scheduler == "" {
		return unix.ENOENT
	}
	s.OnePacket = flags&flagOnePacket != 0
	s.Flags = sched.Flags(flags / flagSched & 7)
	if flags&flagPersistent != 0 {
		s.Persistent = a.u32(serviceTimeout)
	}
	s.Netmask = maskText(a[serviceNetmask], s.Family)
	return nil
}

// ourFlags are the flags of a service that can be set.
const ourFlags = flagPersistent | flagOnePacket | 7*flagSched

// maskText returns a persistence mask as package config has it.
func maskText(b []byte, family config.Family) string {
	if family == config.IPv6 {
		if bits := native.Uint32(b); bits != 128 {
			return strconv.FormatUint(uint64(bits), 10)
		}
		return ""
	}
	if mask := net.IP(b[:4]).String(); mask != "255.255.255.255" {
		return mask
	}
	return ""
}

// serverOf returns the real server of a message, of a service whose name is key. Where its
// family is not said, it is the service's.
func serverOf(b []byte, key config.Key, whole bool) (*config.Server, error) {
	a, err := nested(b, serverPolicy)
	if err != nil {
		return nil, err
	}
	if !a.have(serverAddr, serverPort) || whole && !a.have(serverMethod, serverWeight, serverUpper, serverLower) {
		return nil, unix.EINVAL
	}
	family := key.Family
	if number := a.u16(serverFamily); number != 0 {
		if family, err = familyOf(number); err != nil {
			return nil, err
		}
	}
	kind, flags := config.TunnelType(a.u8(serverTunnelType)), config.TunnelFlags(a.u16(serverTunnelFlags))
	if kind > config.GRE || flags > config.TunnelRemCsum {
		return nil, unix.EINVAL
	}
	return &config.Server{
		Addr: a.addr(serverAddr, family), Port: a.be16(serverPort),
		Method: sched.Method(a.u32(serverMethod) & 7), Weight: int32(a.u32(serverWeight)),
		Upper: a.u32(serverUpper), Lower: a.u32(serverLower),
		TunnelType: kind, TunnelPort: a.be16(serverTunnelPort), TunnelFlags: flags,
	}, nil
}

// States of a daemon (IP_VS_STATE_*).
var daemonStates = map[uint32]config.DaemonState{1: config.Master, 2: config.Backup}

// daemonOf returns a synchronization daemon.
func daemonOf(a attributes, whole bool) (d config.Daemon, err error) {
	if !a.have(daemonState) || whole && !a.have(daemonInterface, daemonSyncID) || a.u32(daemonSyncID) > 255 {
		return d, unix.EINVAL
	}
	state, ok := daemonStates[a.u32(daemonState)]
	if !ok {
		return d, unix.EINVAL
	}
	d = config.Daemon{
		State: state, Interface: a.text(daemonInterface), SyncID: uint8(a.u32(daemonSyncID)),
		MaxLen: a.u16(daemonMaxLen), Port: a.u16(daemonPort), TTL: a.u8(daemonTTL),
	}
	if a.have(daemonGroup) {
		d.Group = a.addr(daemonGroup, config.IPv4)
	} else if a.have(daemonGroup6) {
		d.Group = a.addr(daemonGroup6, config.IPv6)
	}
	return d, nil
}
