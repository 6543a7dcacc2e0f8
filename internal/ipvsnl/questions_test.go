package ipvsnl

import (
	"encoding/binary"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A talk is a list of messages to a kernel whose table is empty at first. What the kernel
// answers is in testdata/recorded.jsonl, made by TestRecord.
type talk struct {
	name string
	asks []ask
}

type ask struct {
	cmd   command
	flags netlink.HeaderFlags
	attrs []byte
}

// attrs is an encoder in the form of a function: it writes one attribute.
type attr func(*netlink.AttributeEncoder)

func u8(t uint16, v uint8) attr   { return func(e *netlink.AttributeEncoder) { e.Uint8(t, v) } }
func u16(t uint16, v uint16) attr { return func(e *netlink.AttributeEncoder) { e.Uint16(t, v) } }
func u32(t uint16, v uint32) attr { return func(e *netlink.AttributeEncoder) { e.Uint32(t, v) } }
func be16(t uint16, v uint16) attr {
	return raw(t, binary.BigEndian.AppendUint16(nil, v)...)
}
func text(t uint16, s string) attr      { return func(e *netlink.AttributeEncoder) { e.String(t, s) } }
func raw(t uint16, b ...byte) attr      { return func(e *netlink.AttributeEncoder) { e.Bytes(t, b) } }
func nest(t uint16, inner ...attr) attr { return raw(t, encode(inner...)...) }

func encode(attrs ...attr) []byte {
	e := netlink.NewAttributeEncoder()
	for _, a := range attrs {
		a(e)
	}
	b, err := e.Encode()
	if err != nil {
		panic(err)
	}
	return b
}

// addr is an address as the family has it: sixteen bytes, of which IPv4 takes the first four.
func addr(t uint16, a string) attr {
	var b [16]byte
	copy(b[:], netip.MustParseAddr(a).AsSlice())
	return raw(t, b[:]...)
}

func flags(flags, mask uint32) attr {
	return raw(serviceFlags, binary.NativeEndian.AppendUint32(binary.NativeEndian.AppendUint32(nil, flags), mask)...)
}

// tcp names the service of most questions.
var tcp = []attr{u16(serviceFamily, unix.AF_INET), u16(serviceProtocol, unix.IPPROTO_TCP),
	addr(serviceAddr, "10.0.0.1"), be16(servicePort, 80)}

// tcp6 names a service by IPv6 address, mark one by a firewall mark.
var (
	tcp6 = []attr{u16(serviceFamily, unix.AF_INET6), u16(serviceProtocol, unix.IPPROTO_TCP),
		addr(serviceAddr, "fd00::1"), be16(servicePort, 80)}
	mark = []attr{u16(serviceFamily, unix.AF_INET), u32(serviceMark, 7)}
)

// rest are the attributes that adding and editing need beside the name.
func rest(scheduler string, bits, timeout, mask uint32) []attr {
	return []attr{text(serviceScheduler, scheduler), flags(bits, ^uint32(0)), u32(serviceTimeout, timeout),
		u32(serviceNetmask, mask)}
}

func with(lists ...[]attr) (all []attr) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

const allBits = ^uint32(0)

func service(cmd command, attrs ...attr) ask {
	return ask{cmd, netlink.Request | netlink.Acknowledge, encode(nest(attrService, attrs...))}
}

func server(cmd command, service []attr, attrs ...attr) ask {
	return ask{cmd, netlink.Request | netlink.Acknowledge, encode(nest(attrService, service...), nest(attrServer, attrs...))}
}

func daemon(cmd command, attrs ...attr) ask {
	return ask{cmd, netlink.Request | netlink.Acknowledge, encode(nest(attrDaemon, attrs...))}
}

func dump(cmd command, attrs ...attr) ask {
	return ask{cmd, netlink.Request | netlink.Dump, encode(attrs...)}
}

func get(cmd command, attrs ...attr) ask { return ask{cmd, netlink.Request, encode(attrs...)} }

func acked(cmd command, attrs ...attr) ask {
	return ask{cmd, netlink.Request | netlink.Acknowledge, encode(attrs...)}
}

// rs names a real server and gives it the values that adding needs.
func rs(a string, port uint16, method, weight, upper, lower uint32) []attr {
	return []attr{addr(serverAddr, a), be16(serverPort, port), u32(serverMethod, method),
		u32(serverWeight, weight), u32(serverUpper, upper), u32(serverLower, lower)}
}

var listing = []ask{dump(getService), dump(getServer, nest(attrService, tcp...))}

var added = service(newService, with(tcp, rest("wlc", 0, 0, allBits))...)

func talkOf(name string, asks ...ask) talk { return talk{name, append(asks, listing...)} }

// without returns a list without its element i.
func without(list []attr, i int) []attr {
	return append(append([]attr(nil), list[:i]...), list[i+1:]...)
}

func talks() []talk {
	all := append(serviceTalks(), serverTalks()...)
	return append(all, otherTalks()...)
}

func serviceTalks() []talk {
	full := with(tcp, rest("wlc", 0, 0, allBits))
	all := []talk{
		talkOf("a service is added", added, get(getService, nest(attrService, tcp...)), acked(getService, nest(attrService, tcp...))),
		talkOf("added twice", added, added),
		talkOf("an IPv6 service", service(newService, with(tcp6, rest("rr", flagPersistent, 300, 64))...),
			get(getService, nest(attrService, tcp6...))),
		talkOf("an IPv6 service with a wrong prefix", service(newService, with(tcp6, rest("rr", 0, 0, 129))...),
			service(newService, with(tcp6, rest("rr", 0, 0, 0))...)),
		talkOf("a mark", service(newService, with(mark, rest("rr", 0, 0, allBits))...), get(getService, nest(attrService, mark...))),
		talkOf("an IPv6 mark", service(newService, with([]attr{u16(serviceFamily, unix.AF_INET6), u32(serviceMark, 7)}, rest("rr", 0, 0, 128))...)),
		talkOf("mark and address", service(newService, with(tcp, []attr{u32(serviceMark, 9)}, rest("rr", 0, 0, allBits))...)),
		talkOf("mark 0", service(newService, with([]attr{u16(serviceFamily, unix.AF_INET), u32(serviceMark, 0)}, rest("rr", 0, 0, allBits))...)),
		talkOf("persistent", service(newService, with(tcp, rest("sh", flagPersistent, 360, 0xffffff))...)),
		talkOf("persistent without a time", service(newService, with(tcp, rest("sh", flagPersistent, 0, allBits))...)),
		talkOf("a time without persistence", service(newService, with(tcp, rest("sh", 0, 360, 0))...)),
		talkOf("a netmask with gaps", service(newService, with(tcp, rest("sh", flagPersistent, 60, 0xff00ff00))...)),
		talkOf("a time too long", service(newService, with(tcp, rest("sh", flagPersistent, 0x7fffffff, allBits))...),
			service(newService, with(tcp, rest("sh", flagPersistent, 2678401, allBits))...)),
		talkOf("all flags", service(newService, with(tcp, rest("sh", 0x3f, 60, allBits))...)),
		talkOf("flags there are not", service(newService, with(tcp, rest("sh", 0xffffffc0, 0, allBits))...)),
		talkOf("one packet for udp", service(newService, u16(serviceFamily, unix.AF_INET), u16(serviceProtocol, unix.IPPROTO_UDP),
			addr(serviceAddr, "10.0.0.1"), be16(servicePort, 53), text(serviceScheduler, "rr"), flags(flagOnePacket, allBits),
			u32(serviceTimeout, 0), u32(serviceNetmask, allBits))),
		talkOf("one packet for tcp", service(newService, with(tcp, rest("rr", flagOnePacket, 0, allBits))...)),
		talkOf("no such scheduler", service(newService, with(tcp, rest("nosuch", 0, 0, allBits))...)),
		talkOf("a scheduler's name too long", service(newService, with(tcp, rest("a-name-of-seventeen-letters", 0, 0, allBits))...)),
		talkOf("the scheduler none", service(newService, with(tcp, rest("none", 0, 0, allBits))...)),
		talkOf("an empty scheduler", service(newService, with(tcp, rest("", 0, 0, allBits))...)),
		talkOf("a persistence engine", service(newService, with(tcp, rest("rr", flagPersistent, 60, allBits), []attr{text(servicePE, "sip")})...),
			service(setService, with(tcp, rest("rr", flagPersistent, 60, allBits))...)),
		talkOf("no such persistence engine", service(newService, with(tcp, rest("rr", flagPersistent, 60, allBits), []attr{text(servicePE, "nosuch")})...)),
		talkOf("an empty persistence engine", service(newService, with(tcp, rest("rr", 0, 0, allBits), []attr{text(servicePE, "")})...)),
		talkOf("port 0", service(newService, with(without(tcp, 3), []attr{be16(servicePort, 0)}, rest("rr", 0, 0, allBits))...),
			service(newService, with(without(tcp, 3), []attr{be16(servicePort, 0)}, rest("rr", flagPersistent, 60, allBits))...)),
		talkOf("an unknown family", service(newService, with([]attr{u16(serviceFamily, 99)}, tcp[1:], rest("rr", 0, 0, allBits))...)),
		talkOf("an unknown protocol", service(newService, with(tcp[:1], []attr{u16(serviceProtocol, 1)}, tcp[2:], rest("rr", 0, 0, allBits))...)),
		talkOf("sctp", service(newService, with(tcp[:1], []attr{u16(serviceProtocol, 132)}, tcp[2:], rest("rr", 0, 0, allBits))...)),
		talkOf("edited", added, service(setService, with(tcp, rest("rr", flagPersistent, 60, 0xffffff))...),
			service(setService, with(tcp, rest("nosuch", 0, 0, allBits))...)),
		talkOf("an edit under a mask", service(newService, with(tcp, rest("sh", flagPersistent|8, 60, allBits))...),
			service(setService, with(tcp, []attr{text(serviceScheduler, "sh"), flags(0x10, 0x10), u32(serviceTimeout, 60), u32(serviceNetmask, allBits)})...),
			dump(getService),
			service(setService, with(tcp, []attr{text(serviceScheduler, "sh"), flags(0, 1), u32(serviceTimeout, 0), u32(serviceNetmask, allBits)})...)),
		talkOf("a new one under a mask", service(newService, with(tcp, []attr{text(serviceScheduler, "sh"), flags(0x3f, 0x11), u32(serviceTimeout, 60), u32(serviceNetmask, allBits)})...)),
		talkOf("deleted", added, service(deleteService, tcp...), service(deleteService, tcp...)),
		talkOf("none to edit", service(setService, full...), service(setService, tcp...), service(zero, tcp...)),
		talkOf("nobody's name", service(newService), service(deleteService), acked(newService), acked(deleteService), acked(setService), get(getService),
			get(getService, nest(attrService)), get(getService, nest(attrService, tcp...))),
		talkOf("zeroed", added, service(zero, tcp...), acked(zero)),
		talkOf("flushed", added, acked(flush), acked(flush)),
		talkOf("without being asked to confirm", ask{newService, netlink.Request, encode(nest(attrService, full...))},
			ask{newService, netlink.Request, encode(nest(attrService, full...))}),
		talkOf("echo is not a thing", ask{newService, netlink.Request | netlink.Acknowledge | netlink.Echo, encode(nest(attrService, full...))}),
		talkOf("attributes marked as nested", ask{newService, netlink.Request | netlink.Acknowledge, encode(nest(unix.NLA_F_NESTED|attrService, full...))}),
		talkOf("attributes that nobody knows", ask{newService, netlink.Request | netlink.Acknowledge,
			encode(nest(attrService, with(full, []attr{u32(77, 1)})...), u32(99, 1))}),
		talkOf("a short attribute", service(newService, with(full, []attr{raw(serviceTimeout, 1)})...),
			service(newService, with(full, []attr{raw(servicePort)})...), service(newService, with(full, []attr{raw(serviceAddr, 1, 2, 3, 4)})...),
			service(newService, with(full, []attr{raw(serviceFlags, 1, 2, 3, 4)})...)),
		talkOf("a long attribute", service(newService, with(tcp, rest("wlc", flagPersistent, 0, allBits), []attr{raw(serviceTimeout, 60, 0, 0, 0, 0, 0, 0, 0)})...)),
		talkOf("a string without its end", service(newService, with(full, []attr{raw(serviceScheduler, 'r', 'r')})...)),
		{"several services", []ask{added,
			service(newService, with(tcp6, rest("rr", 0, 0, 128))...), service(newService, with(mark, rest("rr", 0, 0, allBits))...),
			dump(getService)}},
	}
	for i := range full {
		all = append(all, talkOf("a service without attribute "+string(rune('0'+i)), service(newService, without(full, i)...)))
	}
	return all
}

func serverTalks() []talk {
	ok := rs("10.1.0.1", 8080, 0, 5, 0, 0)
	all := []talk{
		talkOf("a real server", added, server(newServer, tcp, ok...), server(newServer, tcp, ok...)),
		talkOf("a real server of no service", server(newServer, tcp, ok...), server(newServer, tcp), server(deleteServer, tcp, ok...), server(setServer, tcp, ok...)),
		talkOf("direct routing, thresholds", added, server(newServer, tcp, rs("10.1.0.1", 80, 3, 5, 100, 20)...)),
		talkOf("direct routing to another port", added, server(newServer, tcp, rs("10.1.0.1", 8080, 3, 5, 0, 0)...)),
		talkOf("thresholds crossed", added, server(newServer, tcp, rs("10.1.0.1", 80, 3, 5, 10, 20)...)),
		talkOf("a negative weight", added, server(newServer, tcp, rs("10.1.0.1", 80, 3, 0xffffffff, 0, 0)...)),
		talkOf("a heavy weight", added, server(newServer, tcp, rs("10.1.0.1", 80, 3, 0x7fffffff, 0, 0)...)),
		talkOf("tunnels", added,
			server(newServer, tcp, with(rs("10.1.0.1", 80, 2, 5, 0, 0), []attr{u8(serverTunnelType, 0)})...),
			server(newServer, tcp, with(rs("10.1.0.2", 80, 2, 5, 0, 0), []attr{u8(serverTunnelType, 1), be16(serverTunnelPort, 6080), u16(serverTunnelFlags, 1)})...),
			server(newServer, tcp, with(rs("10.1.0.3", 80, 2, 5, 0, 0), []attr{u8(serverTunnelType, 2), u16(serverTunnelFlags, 1)})...),
			server(newServer, tcp, with(rs("10.1.0.4", 80, 2, 5, 0, 0), []attr{u8(serverTunnelType, 1)})...)),
		talkOf("tunnels of no kind", added,
			server(newServer, tcp, with(rs("10.1.0.5", 80, 2, 5, 0, 0), []attr{u8(serverTunnelType, 9)})...),
			server(newServer, tcp, with(rs("10.1.0.6", 80, 2, 5, 0, 0), []attr{u16(serverTunnelFlags, 0xff)})...)),
		talkOf("a tunnel's port for another method", added,
			server(newServer, tcp, with(rs("10.1.0.2", 80, 0, 5, 0, 0), []attr{u8(serverTunnelType, 1), be16(serverTunnelPort, 6080), u16(serverTunnelFlags, 1)})...)),
		talkOf("the numbers of other methods", added, server(newServer, tcp, rs("10.1.0.1", 80, 1, 5, 0, 0)...),
			server(newServer, tcp, rs("10.1.0.2", 80, 4, 5, 0, 0)...), server(newServer, tcp, rs("10.1.0.3", 80, 8, 5, 0, 0)...),
			server(newServer, tcp, rs("10.1.0.4", 80, 0x12, 5, 0, 0)...)),
		talkOf("a server of this host", added, server(newServer, tcp, rs("127.0.0.1", 80, 0, 5, 0, 0)...)),
		talkOf("a server that is no unicast address", added, server(newServer, tcp, rs("224.0.0.1", 80, 0, 5, 0, 0)...),
			server(newServer, tcp, rs("0.0.0.0", 80, 0, 5, 0, 0)...)),
		talkOf("an IPv6 server behind a tunnel", added,
			server(newServer, tcp, with(rs("fd00::2", 80, 2, 5, 0, 0), []attr{u16(serverFamily, unix.AF_INET6)})...),
			server(newServer, tcp, with(rs("fd00::2", 80, 0, 5, 0, 0), []attr{u16(serverFamily, unix.AF_INET6)})...),
			server(deleteServer, tcp, with(rs("fd00::2", 80, 2, 5, 0, 0)[:2], []attr{u16(serverFamily, unix.AF_INET6)})...)),
		talkOf("a server of an unknown family", added, server(newServer, tcp, with(ok, []attr{u16(serverFamily, 99)})...),
			server(newServer, tcp, with(ok, []attr{u16(serverFamily, 0)})...)),
		{"an IPv6 service's servers", []ask{service(newService, with(tcp6, rest("rr", 0, 0, 128))...),
			server(newServer, tcp6, rs("fd00::2", 80, 0, 5, 0, 0)...),
			server(newServer, tcp6, with(rs("10.1.0.2", 80, 2, 5, 0, 0), []attr{u16(serverFamily, unix.AF_INET)})...),
			dump(getService), dump(getServer, nest(attrService, tcp6...))}},
		talkOf("a server edited", added, server(newServer, tcp, ok...), server(setServer, tcp, rs("10.1.0.1", 8080, 2, 7, 9, 8)...),
			server(setServer, tcp, rs("10.1.0.9", 8080, 2, 7, 9, 8)...), server(setServer, tcp, rs("10.1.0.1", 8080, 2, 7, 8, 9)...)),
		talkOf("a server deleted", added, server(newServer, tcp, ok...), server(deleteServer, tcp, ok[:2]...), server(deleteServer, tcp, ok[:2]...)),
		talkOf("a server deleted by half a name", added, server(newServer, tcp, ok...), server(deleteServer, tcp, ok[:1]...), service(deleteServer, tcp...)),
		talkOf("three servers", added, server(newServer, tcp, rs("10.1.0.1", 80, 0, 1, 0, 0)...),
			server(newServer, tcp, rs("10.1.0.2", 80, 0, 2, 0, 0)...), server(newServer, tcp, rs("10.1.0.3", 80, 0, 3, 0, 0)...)),
		{"a mark's servers", []ask{service(newService, with(mark, rest("rr", 0, 0, allBits))...),
			server(newServer, mark, rs("10.1.0.1", 0, 0, 5, 0, 0)...), server(newServer, mark, rs("10.1.0.2", 8080, 3, 5, 0, 0)...),
			dump(getServer, nest(attrService, mark...))}},
		{"servers of no service are none", []ask{dump(getServer, nest(attrService, tcp...)), dump(getServer), dump(getServer, nest(attrService))}},
		{"servers are listed only", []ask{added, get(getServer, nest(attrService, tcp...)), acked(getServer, nest(attrService, tcp...))}},
	}
	for i := range ok {
		all = append(all, talkOf("a server without attribute "+string(rune('0'+i)), added, server(newServer, tcp, without(ok, i)...)))
	}
	return all
}

func otherTalks() []talk {
	master := []attr{u32(daemonState, 1), text(daemonInterface, "lo"), u32(daemonSyncID, 7)}
	timeouts := func(tcp, fin, udp uint32) ask {
		return acked(setConfig, u32(attrTimeoutTCP, tcp), u32(attrTimeoutTCPFin, fin), u32(attrTimeoutUDP, udp))
	}
	all := []talk{
		{"who is there", []ask{get(getInfo), acked(getInfo), dump(getInfo)}},
		{"timeouts", []ask{get(getConfig), timeouts(100, 50, 40), get(getConfig), timeouts(0, 0, 0), get(getConfig),
			acked(setConfig, u32(attrTimeoutUDP, 7)), acked(setConfig), get(getConfig), dump(getConfig)}},
		{"timeouts too long", []ask{timeouts(0x7fffffff, 0, 0), timeouts(2678401, 0, 0), timeouts(0xffffffff, 0, 0), get(getConfig)}},
		{"commands there are not", []ask{acked(0), acked(setInfo), acked(18), dump(18), dump(newService), acked(99)}},
		{"no daemon", []ask{dump(getDaemon), get(getDaemon), daemon(deleteDaemon, master[0]), acked(newDaemon), acked(deleteDaemon), daemon(newDaemon), daemon(deleteDaemon)}},
		{"a master", []ask{daemon(newDaemon, master...), dump(getDaemon), daemon(newDaemon, master...), daemon(deleteDaemon, master[0]), dump(getDaemon)}},
		{"a backup with everything", []ask{
			daemon(newDaemon, u32(daemonState, 2), text(daemonInterface, "lo"), u32(daemonSyncID, 255), u16(daemonMaxLen, 1400),
				raw(daemonGroup, 224, 0, 0, 99), u16(daemonPort, 8850), u8(daemonTTL, 3)), dump(getDaemon),
			daemon(newDaemon, master...), dump(getDaemon), daemon(deleteDaemon, u32(daemonState, 2)), dump(getDaemon)}},
		{"a daemon of a large number", []ask{daemon(newDaemon, master[0], master[1], u32(daemonSyncID, 256)), dump(getDaemon)}},
		{"a master on an IPv6 group", []ask{daemon(newDaemon, with(master, []attr{addr(daemonGroup6, "ff05::60")})...), dump(getDaemon)}},
		{"wrong daemons", []ask{
			daemon(newDaemon, u32(daemonState, 3), master[1], master[2]), daemon(newDaemon, u32(daemonState, 0), master[1], master[2]),
			daemon(newDaemon, master[0], text(daemonInterface, "nosuch"), master[2]),
			daemon(newDaemon, with(master, []attr{raw(daemonGroup, 10, 0, 0, 1)})...),
			daemon(newDaemon, with(master, []attr{addr(daemonGroup6, "fd00::1")})...),
			daemon(newDaemon, with(master, []attr{raw(daemonGroup, 224, 0, 0, 1), addr(daemonGroup6, "ff05::60")})...),
			daemon(newDaemon, with(master, []attr{u16(daemonMaxLen, 65535)})...), dump(getDaemon), daemon(deleteDaemon, u32(daemonState, 1)),
			daemon(newDaemon, with(master, []attr{u16(daemonMaxLen, 1)})...), dump(getDaemon), daemon(deleteDaemon, u32(daemonState, 3))}},
		{"a daemon and servers of two families", []ask{added, daemon(newDaemon, master...),
			server(newServer, tcp, with(rs("fd00::2", 80, 2, 5, 0, 0), []attr{u16(serverFamily, unix.AF_INET6)})...)}},
		{"servers of two families and a daemon", []ask{added,
			server(newServer, tcp, with(rs("fd00::2", 80, 2, 5, 0, 0), []attr{u16(serverFamily, unix.AF_INET6)})...), daemon(newDaemon, master...)}},
	}
	for i := range master {
		all = append(all, talk{"a daemon without attribute " + string(rune('0'+i)), []ask{daemon(newDaemon, without(master, i)...), dump(getDaemon)}})
	}
	return all
}
