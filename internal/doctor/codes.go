package doctor

import "slices"

// Code is a kind of mistake. Codes 1 to 20 are the classic ones of lessons about LVS.
type Code struct {
	Code string
	Name string
	Why  string
}

// Codes of findings. They are stable: one that is no longer found is not used again.
const (
	NoReturn      = "LVS001"
	SameSubnet    = "LVS002"
	RPFilter      = "LVS003"
	ARPConflict   = "LVS004"
	Mask          = "LVS005"
	PortMap       = "LVS006"
	NoNeighbour   = "LVS007"
	ListensOnRIP  = "LVS008"
	NoDecap       = "LVS009"
	MTU           = "LVS010"
	SelfClient    = "LVS011"
	Persistence   = "LVS012"
	Firewall      = "LVS013"
	InactiveGrows = "LVS014"
	Conntrack     = "LVS015"
	SynproxyDR    = "LVS016"
	RulesLost     = "LVS017"
	LocalAddress  = "LVS018"
	KernelRST     = "LVS019"
	DoubleForward = "LVS020"

	VIPMissing     = "LVS021"
	NoListener     = "LVS022"
	NoServer       = "LVS023"
	VIPTaken       = "LVS024"
	LinkDown       = "LVS025"
	NoForwarding   = "LVS026"
	FirewallUnseen = "LVS027"
	DropRate       = "LVS028"
	MarkUnset      = "LVS029"
	NoDirector     = "LVS030"
	RingDrops      = "LVS031"
	LeftOut        = "LVS032"
	LargeReceive   = "LVS033"
	Clock          = "LVS034"
	Capabilities   = "LVS035"
	TwoDirectors   = "LVS036"
	Unanswered     = "LVS037"
)

// Codes has every code in order.
var Codes = []Code{
	{NoReturn, "no-return", "The server sends its replies past the director, so the client gets them from an address it never asked, and resets them. With -m the server's gateway has to be the director; with --fullnat the server needs a way to the local address; with -g and -i a way to the client."},
	{SameSubnet, "same-subnet", "The server reaches the client on its own network, so with -m its replies go there directly and are not translated. Test from a client of another network, or use --fullnat."},
	{RPFilter, "rp-filter", "Strict reverse path filtering drops packets that arrive by another interface than the one that leads back to their source."},
	{ARPConflict, "arp-conflict", "A real server answers ARP for the virtual address, so clients and routers may reach it past the director."},
	{Mask, "mask", "The virtual address is on the server with the mask of a network: the server takes that whole network for itself and sends nothing to it. It has to be a single address: /32, or /128."},
	{PortMap, "port-map", "Direct routing and tunnels change no port: the server gets the packets at the port of the virtual service."},
	{NoNeighbour, "neighbour", "Nobody has the real server's address on the director's network: it is mistyped, the server is off, or it is behind a router, where direct routing cannot reach."},
	{ListensOnRIP, "listen", "With -g and -i packets come to the server with the virtual address as destination. A program that listens only on the server's own address refuses them."},
	{NoDecap, "no-decap", "Packets come to the server in a tunnel, and nobody there takes the outer header off: its kernel answers with ICMP protocol unreachable."},
	{MTU, "mtu", "Small packets pass and large ones disappear: a handshake works and a big page hangs."},
	{SelfClient, "self-client", "A client on the director itself has the virtual address as its source. With -g and -i the server takes that address for its own and cannot answer."},
	{Persistence, "persistence", "With persistence (-p) all connections of a client go to one server for a while, whatever the scheduler is. To see the scheduler at work, ask from several clients or leave -p out."},
	{Firewall, "firewall", "A packet filter on the way drops or rejects packets of the service."},
	{InactiveGrows, "inactive-grows", "Connections that are over stay in the table as InActConn until their timeout. That is no error, but a long timeout makes them grow, and lc, wlc and lblc count them."},
	{Conntrack, "conntrack", "With -g and -i replies do not pass the director, so its kernel's connection tracking would see half a connection: entries stay in SYN_SENT, and the table fills. Besides, what the director forwards does not come to these rules at all."},
	{SynproxyDR, "synproxy", "A SYN proxy has to see both directions. With -g and -i the server answers the client directly, so a proxy on the director blocks everything. It is possible in principle only with -m and --fullnat: uvs synproxy."},
	{RulesLost, "rules-lost", "The director has no services: rules that were typed are lost when the machine starts anew, unless they are saved and loaded again."},
	{LocalAddress, "local-address", "With --fullnat the server answers to the service's local address. It has to be one that leads to the director: an address of the network between director and servers."},
	{KernelRST, "kernel-rst", "The virtual address is on an interface, and the host's own stack sees its packets: where it has no listener it answers with RST, before the server does."},
	{DoubleForward, "double-forward", "With ip_forward=1 the host's own stack forwards the servers' replies too, untranslated and beside the director."},
	{VIPMissing, "vip-missing", "With -g and -i packets come to the server with the virtual address as destination. A server that does not have it drops them."},
	{NoListener, "no-listener", "No program listens on the real server at this port, so connections are refused."},
	{NoServer, "no-server", "No server of the service takes new connections: it has none, or all have the weight 0."},
	{VIPTaken, "vip-taken", "A host that is not one of the real servers has the virtual address too: packets go to the one or the other."},
	{LinkDown, "link-down", "An interface is down or has lost its address."},
	{NoForwarding, "no-forwarding", "The host is a router here, and its kernel does not forward."},
	{FirewallUnseen, "firewall-unseen", "The director takes frames before the host's stack, so a rule in prerouting, input, forward or output sees nothing of what it forwards: the rule protects nothing (docs/firewall.md)."},
	{DropRate, "drop-rate", "The director drops packets on purpose, because a parameter of net.ipv4.vs tells it to."},
	{MarkUnset, "mark-unset", "The service is for packets with a firewall mark, and no rule gives them that mark."},
	{NoDirector, "no-director", "No director answers: nobody forwards packets for the virtual address."},
	{RingDrops, "ring-drops", "The kernel lost frames because no worker took them in time."},
	{LeftOut, "left-out", "The director works only on the interfaces that -i names, and the way to a real server takes another: replies that come in there are not seen."},
	{LargeReceive, "large-receive", "Large receive offload (LRO) joins segments in the network card for good: such a frame cannot be forwarded. GRO, which the kernel does, can be undone and is fine."},
	{Clock, "clock", "The host's clock is wrong. The director does not depend on it, but logs, traces and certificates do."},
	{Capabilities, "capabilities", "The director lacks a capability: without CAP_NET_ADMIN it has no guard and follows no route, without CAP_NET_RAW it opens no packet socket."},
	{TwoDirectors, "two-directors", "Two directors in one network namespace serve the same address: each answers for it, and schedules every packet."},
	{Unanswered, "unanswered", "A real server that the director asked answers neither through the virtual address nor at its own: it is off, hangs, or a packet filter drops what comes."},
}

// codeOf returns what is known about a code.
func codeOf(code string) Code {
	i := slices.IndexFunc(Codes, func(c Code) bool { return c.Code == code })
	return Codes[i]
}

// likeliest orders codes whose findings appear together: what causes others comes first.
// Those that are not listed follow in the order of Codes.
var likeliest = []string{NoDirector, LinkDown, TwoDirectors, RulesLost, KernelRST, LeftOut, VIPTaken, ARPConflict, NoNeighbour, NoServer}

// rank is the place of a code in a report among findings of one severity.
func rank(code string) int {
	if i := slices.Index(likeliest, code); i >= 0 {
		return i
	}
	return len(likeliest) + slices.IndexFunc(Codes, func(c Code) bool { return c.Code == code })
}
