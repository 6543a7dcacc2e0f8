package ipvsnl

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"uvs/forwarder/config"
	"uvs/internal/ipvsadm"
)

// version is IPVS's in the answer to getInfo, 1.2.1 (linux/ip_vs.h, IP_VS_VERSION_CODE).
const version = 0x010201

// attrs is a list of attributes as bytes.
type attrs []byte

// put appends an attribute.
func (a *attrs) put(number uint16, b []byte) {
	*a = native.AppendUint16(*a, uint16(unix.NLA_HDRLEN+len(b)))
	*a = native.AppendUint16(*a, number)
	*a = append(*a, b...)
	for len(*a)%unix.NLA_ALIGNTO != 0 {
		*a = append(*a, 0)
	}
}

func (a *attrs) u8(number uint16, v uint8)   { a.put(number, []byte{v}) }
func (a *attrs) u16(number uint16, v uint16) { a.put(number, native.AppendUint16(nil, v)) }
func (a *attrs) u32(number uint16, v uint32) { a.put(number, native.AppendUint32(nil, v)) }
func (a *attrs) u64(number uint16, v uint64) { a.put(number, native.AppendUint64(nil, v)) }

func (a *attrs) be16(number uint16, v uint16) {
	a.put(number, binary.BigEndian.AppendUint16(nil, v))
}

func (a *attrs) text(number uint16, s string) { a.put(number, append([]byte(s), 0)) }

func (a *attrs) addr(number uint16, addr netip.Addr) {
	var b [16]byte
	copy(b[:], addr.AsSlice())
	a.put(number, b[:])
}

// familyNumber returns the kernel's number of a family.
func familyNumber(f config.Family) uint16 {
	if f == config.IPv6 {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// appendService appends a service with its counters (ip_vs_ctl.c, ip_vs_genl_fill_service).
func (a *attrs) appendService(v config.ServiceState) {
	var in attrs
	key := v.Key.Normal()
	in.u16(serviceFamily, familyNumber(key.Family))
	if key.Mark != 0 {
		in.u32(serviceMark, key.Mark)
	} else {
		in.u16(serviceProtocol, uint16(key.Proto))
		in.addr(serviceAddr, key.Addr)
		in.be16(servicePort, key.Port)
	}
	in.text(serviceScheduler, v.Scheduler)
	if v.PE != "" {
		in.text(servicePE, v.PE)
	}
	in.put(serviceFlags, native.AppendUint32(native.AppendUint32(nil, flagsOf(v.Service)|flagHashed), ^uint32(0)))
	in.u32(serviceTimeout, v.Persistent)
	in.put(serviceNetmask, maskBytes(v.Service))
	in.put(serviceStats, stats(v.Stats))
	in.put(serviceStats64, stats64(v.Stats))
	a.put(attrService, in)
}

// flagsOf returns the flags of a service that can be set.
func flagsOf(s config.Service) (flags uint32) {
	if s.Persistent != 0 {
		flags |= flagPersistent
	}
	if s.OnePacket {
		flags |= flagOnePacket
	}
	return flags | uint32(s.Flags)*flagSched
}

// maskBytes returns the persistence mask: an IPv4 mask as it is on the wire, or the length
// of an IPv6 prefix.
func maskBytes(s config.Service) []byte {
	if s.Normal().Family == config.IPv6 {
		bits, err := strconv.ParseUint(s.Netmask, 10, 8)
		if err != nil {
			bits = 128
		}
		return native.AppendUint32(nil, uint32(bits))
	}
	mask, err := s.Mask()
	if err != nil {
		return []byte{255, 255, 255, 255}
	}
	return mask[12:]
}

// appendServer appends a real server with its counters (ip_vs_ctl.c,
// ip_vs_genl_fill_dest).
func (a *attrs) appendServer(s config.ServerState) {
	var in attrs
	in.addr(serverAddr, s.Addr)
	in.be16(serverPort, s.Port)
	in.u32(serverMethod, uint32(s.Method))
	in.u32(serverWeight, uint32(s.Weight))
	in.u8(serverTunnelType, uint8(s.TunnelType))
	in.be16(serverTunnelPort, s.TunnelPort)
	in.u16(serverTunnelFlags, uint16(s.TunnelFlags))
	in.u32(serverUpper, s.Upper)
	in.u32(serverLower, s.Lower)
	in.u32(serverActive, s.Active)
	in.u32(serverInactive, s.Inactive)
	in.u32(serverPersistent, s.Persistent)
	in.u16(serverFamily, familyNumber(config.FamilyOf(s.Addr)))
	in.put(serverStats, stats(s.Stats))
	in.put(serverStats64, stats64(s.Stats))
	a.put(attrServer, in)
}

// stats are counters in the older form: of most only the low half.
func stats(s config.Stats) attrs {
	var a attrs
	a.u32(statsConns, uint32(s.Conns))
	a.u32(statsInPkts, uint32(s.InPkts))
	a.u32(statsOutPkts, uint32(s.OutPkts))
	a.u64(statsInBytes, s.InBytes)
	a.u64(statsOutBytes, s.OutBytes)
	a.u32(statsCPS, uint32(s.CPS))
	a.u32(statsInPPS, uint32(s.InPPS))
	a.u32(statsOutPPS, uint32(s.OutPPS))
	a.u32(statsInBPS, uint32(s.InBPS))
	a.u32(statsOutBPS, uint32(s.OutBPS))
	return a
}

// stats64 are counters as they are.
func stats64(s config.Stats) attrs {
	var a attrs
	for i, v := range []uint64{s.Conns, s.InPkts, s.OutPkts, s.InBytes, s.OutBytes,
		s.CPS, s.InPPS, s.OutPPS, s.InBPS, s.OutBPS} {
		a.u64(uint16(statsConns+i), v)
	}
	return a
}

// appendDaemon appends a synchronization daemon (ip_vs_ctl.c, ip_vs_genl_fill_daemon).
func (a *attrs) appendDaemon(d config.Daemon) {
	var in attrs
	for number, state := range daemonStates {
		if state == d.State {
			in.u32(daemonState, number)
		}
	}
	in.text(daemonInterface, d.Interface)
	in.u32(daemonSyncID, uint32(d.SyncID))
	in.u16(daemonMaxLen, d.MaxLen)
	in.u16(daemonPort, d.Port)
	in.u8(daemonTTL, d.TTL)
	if d.Group.Is6() {
		in.addr(daemonGroup6, d.Group)
	} else if d.Group.Is4() {
		in.put(daemonGroup, d.Group.AsSlice())
	}
	a.put(attrDaemon, in)
}

// list answers with a list.
func (c *call) list(cmd command) error {
	switch cmd {
	case getService:
		return c.listServices()
	case getServer:
		return c.listServers()
	case getDaemon:
		return c.listDaemons()
	}
	return unix.EOPNOTSUPP
}

func (c *call) listServices() error {
	services, err := c.Director.Services(c.ctx)
	if err != nil {
		return errno(err)
	}
	ipvsadm.KernelOrder(services)
	for _, v := range services {
		var a attrs
		a.appendService(v)
		c.out.add(c.ID, newService, a)
	}
	return nil
}

// listServers lists the servers of a service: none for a service that is not there or not
// named.
func (c *call) listServers() error {
	top, err := parse(c.m.attrs(), topPolicy)
	if err != nil {
		return nil
	}
	v, err := c.find(top)
	if err != nil {
		if number := errnoOf(err); number == unix.ENOENT {
			return number
		}
		return nil
	}
	for _, s := range v.Servers {
		var a attrs
		a.appendServer(s)
		c.out.add(c.ID, newServer, a)
	}
	return nil
}

// find returns the service that a message names, its servers in the kernel's order.
func (c *call) find(top attributes) (config.ServiceState, error) {
	a, err := nested(top[attrService], servicePolicy)
	if err != nil {
		return config.ServiceState{}, err
	}
	key, err := keyOf(a)
	if err != nil {
		return config.ServiceState{}, err
	}
	v, err := c.Director.Service(c.ctx, key)
	if err != nil {
		return v, errno(err)
	}
	one := []config.ServiceState{v}
	ipvsadm.KernelOrder(one)
	return one[0], nil
}

func (c *call) listDaemons() error {
	daemons, err := c.Director.Daemons(c.ctx)
	for _, d := range daemons {
		var a attrs
		a.appendDaemon(d)
		c.out.add(c.ID, newDaemon, a)
	}
	return errno(err)
}

// show answers with one thing.
func (c *call) show(cmd command, top attributes) error {
	var a attrs
	switch cmd {
	case getInfo:
		if _, err := c.Director.About(c.ctx); err != nil {
			return errno(err)
		}
		a.u32(infoVersion, version)
		a.u32(infoTableSize, ipvsadm.TableSize)
		c.out.add(c.ID, setInfo, a)
	case getConfig:
		t, err := c.Director.Timeouts(c.ctx)
		if err != nil {
			return errno(err)
		}
		a.u32(attrTimeoutTCP, t.TCP)
		a.u32(attrTimeoutTCPFin, t.TCPFin)
		a.u32(attrTimeoutUDP, t.UDP)
		c.out.add(c.ID, setConfig, a)
	case getService:
		v, err := c.find(top)
		if err != nil {
			return err
		}
		a.appendService(v)
		c.out.add(c.ID, newService, a)
	}
	return nil
}
