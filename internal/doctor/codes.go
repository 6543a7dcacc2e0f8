package doctor

import (
	"slices"
	"strings"

	"uvs/internal/lang"
)

// Code is a kind of mistake. Codes 1 to 20 are the classic ones of lessons about LVS.
type Code struct {
	Code string
	Name string
	Why  lang.Text
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
	{NoReturn, "no-return", lang.Text{
		EN: "The server sends its replies past the director, so the client gets them from an address it never asked, and resets them. With -m the server's gateway has to be the director; with --fullnat the server needs a way to the local address; with -g and -i a way to the client.",
		ZH: "真实服务器的应答绕过了调度器，客户端收到来自陌生地址的报文，于是发 RST 重置连接。NAT 模式（-m）下真实服务器的网关必须是调度器；FULLNAT 模式（--fullnat）下它要有到本地地址的路由；DR 和 TUN 模式（-g、-i）下要有到客户端的路由。"}},
	{SameSubnet, "same-subnet", lang.Text{
		EN: "The server reaches the client on its own network, so with -m its replies go there directly and are not translated. Test from a client of another network, or use --fullnat.",
		ZH: "真实服务器在自己的网段内就能到达客户端，因此 NAT 模式（-m）下应答直接发给客户端，没有经过地址转换。请从其他网段的客户端测试，或使用 --fullnat。"}},
	{RPFilter, "rp-filter", lang.Text{
		EN: "Strict reverse path filtering drops packets that arrive by another interface than the one that leads back to their source.",
		ZH: "严格的反向路径过滤会丢弃这样的报文：它进来的接口不是通往其源地址的接口。"}},
	{ARPConflict, "arp-conflict", lang.Text{
		EN: "A real server answers ARP for the virtual address, so clients and routers may reach it past the director.",
		ZH: "有真实服务器应答了 VIP 的 ARP 请求，客户端和路由器可能绕过调度器直接访问它。"}},
	{Mask, "mask", lang.Text{
		EN: "The virtual address is on the server with the mask of a network: the server takes that whole network for itself and sends nothing to it. It has to be a single address: /32, or /128.",
		ZH: "真实服务器上 VIP 的掩码是一个网段的掩码：主机把整个网段都当成自己的，不会向那里发送任何报文。它必须是单个地址：/32，IPv6 为 /128。"}},
	{PortMap, "port-map", lang.Text{
		EN: "Direct routing and tunnels change no port: the server gets the packets at the port of the virtual service.",
		ZH: "DR 和 TUN 模式不改端口：报文到达真实服务器时用的是虚拟服务的端口。"}},
	{NoNeighbour, "neighbour", lang.Text{
		EN: "Nobody has the real server's address on the director's network: it is mistyped, the server is off, or it is behind a router, where direct routing cannot reach.",
		ZH: "调度器所在的网络上没有主机拥有这个真实服务器地址：可能是输错了，可能是服务器没开机，也可能它在路由器后面，而 DR 模式到不了那里。"}},
	{ListensOnRIP, "listen", lang.Text{
		EN: "With -g and -i packets come to the server with the virtual address as destination. A program that listens only on the server's own address refuses them.",
		ZH: "DR 和 TUN 模式（-g、-i）下，报文以 VIP 为目的地址到达真实服务器。只监听自身地址的程序会拒绝它们。"}},
	{NoDecap, "no-decap", lang.Text{
		EN: "Packets come to the server in a tunnel, and nobody there takes the outer header off: its kernel answers with ICMP protocol unreachable.",
		ZH: "报文经隧道到达真实服务器，却没有谁去掉外层首部：内核回以 ICMP 协议不可达。"}},
	{MTU, "mtu", lang.Text{
		EN: "Small packets pass and large ones disappear: a handshake works and a big page hangs.",
		ZH: "小报文能通过，大报文会消失：握手成功，大页面却一直等不到。"}},
	{SelfClient, "self-client", lang.Text{
		EN: "A client on the director itself has the virtual address as its source. With -g and -i the server takes that address for its own and cannot answer.",
		ZH: "调度器主机上的客户端以 VIP 为源地址。DR 和 TUN 模式（-g、-i）下，真实服务器把这个地址当成自己的，无法应答。"}},
	{Persistence, "persistence", lang.Text{
		EN: "With persistence (-p) all connections of a client go to one server for a while, whatever the scheduler is. To see the scheduler at work, ask from several clients or leave -p out.",
		ZH: "启用持久连接（-p）后，一段时间内同一客户端的所有连接都到同一台真实服务器，与调度算法无关。要观察调度算法，请用多个客户端访问，或不加 -p。"}},
	{Firewall, "firewall", lang.Text{
		EN: "A packet filter on the way drops or rejects packets of the service.",
		ZH: "途中有包过滤规则丢弃或拒绝了该服务的报文。"}},
	{InactiveGrows, "inactive-grows", lang.Text{
		EN: "Connections that are over stay in the table as InActConn until their timeout. That is no error, but a long timeout makes them grow, and lc, wlc and lblc count them.",
		ZH: "已结束的连接在超时之前作为 InActConn 留在连接表中。这不是错误，但超时过长会使它们越积越多，而 lc、wlc 和 lblc 会把它们计算在内。"}},
	{Conntrack, "conntrack", lang.Text{
		EN: "With -g and -i replies do not pass the director, so its kernel's connection tracking would see half a connection: entries stay in SYN_SENT, and the table fills. Besides, what the director forwards does not come to these rules at all.",
		ZH: "DR 和 TUN 模式（-g、-i）下应答不经过调度器，它的内核连接跟踪只能看到半个连接：表项停在 SYN_SENT，表会被占满。此外，调度器转发的报文根本不经过这些规则。"}},
	{SynproxyDR, "synproxy", lang.Text{
		EN: "A SYN proxy has to see both directions. With -g and -i the server answers the client directly, so a proxy on the director blocks everything. It is possible in principle only with -m and --fullnat: uvs synproxy.",
		ZH: "SYN 代理必须看到两个方向的报文。DR 和 TUN 模式（-g、-i）下真实服务器直接应答客户端，调度器上的代理会使一切中断。原理上只有 -m 和 --fullnat 可以使用：uvs synproxy。"}},
	{RulesLost, "rules-lost", lang.Text{
		EN: "The director has no services: rules that were typed are lost when the machine starts anew, unless they are saved and loaded again.",
		ZH: "调度器没有任何服务：手工输入的规则在机器重启后会丢失，除非保存下来并重新加载。"}},
	{LocalAddress, "local-address", lang.Text{
		EN: "With --fullnat the server answers to the service's local address. It has to be one that leads to the director: an address of the network between director and servers.",
		ZH: "FULLNAT 模式（--fullnat）下，真实服务器应答的是服务的本地地址。它必须能通往调度器，即属于调度器与真实服务器之间的网段。"}},
	{KernelRST, "kernel-rst", lang.Text{
		EN: "The virtual address is on an interface, and the host's own stack sees its packets: where it has no listener it answers with RST, before the server does.",
		ZH: "VIP 配在接口上，主机自己的协议栈看到了它的报文：没有程序监听，内核就抢在真实服务器之前回了 RST。"}},
	{DoubleForward, "double-forward", lang.Text{
		EN: "With ip_forward=1 the host's own stack forwards the servers' replies too, untranslated and beside the director.",
		ZH: "ip_forward=1 时，主机自己的协议栈也会转发真实服务器的应答，未经地址转换，与调度器并行。"}},
	{VIPMissing, "vip-missing", lang.Text{
		EN: "With -g and -i packets come to the server with the virtual address as destination. A server that does not have it drops them.",
		ZH: "DR 和 TUN 模式（-g、-i）下，报文以 VIP 为目的地址到达真实服务器。没有这个地址的服务器会丢弃它们。"}},
	{NoListener, "no-listener", lang.Text{
		EN: "No program listens on the real server at this port, so connections are refused.",
		ZH: "真实服务器的这个端口没有程序监听，因此连接被拒绝。"}},
	{NoServer, "no-server", lang.Text{
		EN: "No server of the service takes new connections: it has none, or all have the weight 0.",
		ZH: "该服务没有可接受新连接的真实服务器：一台也没有，或者权重都是 0。"}},
	{VIPTaken, "vip-taken", lang.Text{
		EN: "A host that is not one of the real servers has the virtual address too: packets go to the one or the other.",
		ZH: "一台不是真实服务器的主机也有 VIP：报文有时到这台，有时到那台。"}},
	{LinkDown, "link-down", lang.Text{
		EN: "An interface is down or has lost its address.",
		ZH: "某个接口被停用，或丢失了地址。"}},
	{NoForwarding, "no-forwarding", lang.Text{
		EN: "The host is a router here, and its kernel does not forward.",
		ZH: "这台主机在这里充当路由器，而它的内核没有开启转发。"}},
	{FirewallUnseen, "firewall-unseen", lang.Text{
		EN: "The director takes frames before the host's stack, so a rule in prerouting, input, forward or output sees nothing of what it forwards: the rule protects nothing (docs/firewall.md).",
		ZH: "调度器在主机协议栈之前就取走了帧，因此 prerouting、input、forward 和 output 链中的规则看不到它转发的任何报文：这条规则什么也保护不了（docs/firewall.md）。"}},
	{DropRate, "drop-rate", lang.Text{
		EN: "The director drops packets on purpose, because a parameter of net.ipv4.vs tells it to.",
		ZH: "调度器在主动丢包，因为 net.ipv4.vs 的某个参数要求它这样做。"}},
	{MarkUnset, "mark-unset", lang.Text{
		EN: "The service is for packets with a firewall mark, and no rule gives them that mark.",
		ZH: "该服务面向带有防火墙标记的报文，却没有规则给报文打上这个标记。"}},
	{NoDirector, "no-director", lang.Text{
		EN: "No director answers: nobody forwards packets for the virtual address.",
		ZH: "没有调度器应答：没有谁转发发往 VIP 的报文。"}},
	{RingDrops, "ring-drops", lang.Text{
		EN: "The kernel lost frames because no worker took them in time.",
		ZH: "内核丢失了帧，因为工作线程没有及时取走它们。"}},
	{LeftOut, "left-out", lang.Text{
		EN: "The director works only on the interfaces that -i names, and the way to a real server takes another: replies that come in there are not seen.",
		ZH: "调度器只在 -i 指定的接口上工作，而通往某台真实服务器的路走的是另一个接口：从那里进来的应答它看不到。"}},
	{LargeReceive, "large-receive", lang.Text{
		EN: "Large receive offload (LRO) joins segments in the network card for good: such a frame cannot be forwarded. GRO, which the kernel does, can be undone and is fine.",
		ZH: "大包接收卸载（LRO）在网卡中把多个报文段永久合并，这样的帧无法转发。GRO 由内核完成，可以还原，没有问题。"}},
	{Clock, "clock", lang.Text{
		EN: "The host's clock is wrong. The director does not depend on it, but logs, traces and certificates do.",
		ZH: "主机的时钟不准。调度器不依赖它，但日志、跟踪记录和证书依赖它。"}},
	{Capabilities, "capabilities", lang.Text{
		EN: "The director lacks a capability: without CAP_NET_ADMIN it has no guard and follows no route, without CAP_NET_RAW it opens no packet socket.",
		ZH: "调度器缺少权能：没有 CAP_NET_ADMIN 就没有防护，也不能跟随路由变化；没有 CAP_NET_RAW 就打不开报文套接字。"}},
	{TwoDirectors, "two-directors", lang.Text{
		EN: "Two directors in one network namespace serve the same address: each answers for it, and schedules every packet.",
		ZH: "同一个网络命名空间中有两个调度器服务同一个地址：两者都应答，都对每个报文作调度。"}},
	{Unanswered, "unanswered", lang.Text{
		EN: "A real server that the director asked answers neither through the virtual address nor at its own: it is off, hangs, or a packet filter drops what comes.",
		ZH: "调度器探测了一台真实服务器，它经由 VIP 和自身地址都不应答：可能已关机、挂起，或者有包过滤规则丢弃了报文。"}},
}

// codeOf returns what is known about a code.
func codeOf(code string) Code {
	i := slices.IndexFunc(Codes, func(c Code) bool { return c.Code == code })
	return Codes[i]
}

// Why says why what a code stands for matters.
func Why(code string) lang.Text { return codeOf(code).Why }

// Page is the section of docs/doctor.md about a code.
func Page(code string) string {
	return "docs/doctor.md#" + strings.ToLower(code) + "-" + codeOf(code).Name
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
