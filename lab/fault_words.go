package lab

import "uvs/internal/lang"

// faultWords are the texts about a fault. In them {node} is the node it is on, {director},
// {client} and {router} are the nodes of these roles, {vip} is the virtual address and {single}
// the same with its full mask, {service} the virtual service in ipvsadm's words, {rip} the address of the node, {gateway} the gateway that the
// topology gives the node, {ip} the command ip(8) for the address family, {url} the service's
// page.
type faultWords struct {
	title lang.Text    // what is wrong, in a line
	hints [3]lang.Text // where to look; what to look at, with which command; nearly the answer
	fix   lang.Text    // what mends it
}

// wordsOfFaults has the texts about every fault, by its name: here those about the classic
// mistakes of lessons.
var wordsOfFaults = map[string]faultWords{
	"no-return": {
		lang.Text{EN: "the replies of a server do not find their way back", ZH: "真实服务器的应答没有沿正确的路径返回"},
		[3]lang.Text{
			{EN: "Requests reach the servers. Follow the replies: which way do they take from each real server?",
				ZH: "请求能到达真实服务器。请跟踪应答：从每台真实服务器出发，应答走的是哪条路？"},
			{EN: "Compare the routes of the real servers: uvs lab exec {node} -- {ip} route", ZH: "比较各台真实服务器的路由：uvs lab exec {node} -- {ip} route"},
			{EN: "On {node} a route leads to a host that does not exist. Its replies have to go by {gateway}.",
				ZH: "{node} 上有一条路由指向一台不存在的主机。它的应答应当经由 {gateway}。"},
		},
		lang.Text{EN: "on {node}: delete the wrong route ({ip} route del …), or {ip} route replace default via {gateway}",
			ZH: "在 {node} 上：删除错误的路由（{ip} route del …），或执行 {ip} route replace default via {gateway}"},
	},
	"same-subnet": {
		lang.Text{EN: "a server reaches the client without the director", ZH: "真实服务器不经过调度器就能到达客户端"},
		[3]lang.Text{
			{EN: "With -m every reply has to pass the director. Is there a server that need not send it there?",
				ZH: "NAT 模式（-m）下，所有应答都必须经过调度器。有没有哪台真实服务器不必把应答交给它？"},
			{EN: "Compare the addresses of the servers' interfaces: uvs lab exec {node} -- {ip} addr", ZH: "比较各台真实服务器接口上的地址：uvs lab exec {node} -- {ip} addr"},
			{EN: "{node} has an address in the client's network, so it answers the client directly and nobody translates the source address back.",
				ZH: "{node} 有一个属于客户端网段的地址，于是它直接应答客户端，没有谁把源地址改回 VIP。"},
		},
		lang.Text{EN: "on {node}: {ip} addr del ADDRESS dev eth0, the one of the client's network", ZH: "在 {node} 上：{ip} addr del 地址 dev eth0，删除属于客户端网段的那个地址"},
	},
	"rp-filter": {
		lang.Text{EN: "a server drops what comes out of the tunnel", ZH: "真实服务器丢弃了从隧道中取出的报文"},
		[3]lang.Text{
			{EN: "The director sends, and the tunnelled packets arrive at the server. What becomes of them inside the server?",
				ZH: "调度器已经发出报文，隧道报文也到了真实服务器。它们在服务器内部去了哪里？"},
			{EN: "Look at how the kernel judges source addresses: uvs lab exec {node} -- sysctl net.ipv4.conf.all.rp_filter", ZH: "看看内核怎样检查源地址：uvs lab exec {node} -- sysctl net.ipv4.conf.all.rp_filter"},
			{EN: "rp_filter=1 on {node} drops packets whose source is reached by another interface than the one they came from.",
				ZH: "{node} 上 rp_filter=1：如果去往源地址的路由不走报文进来的接口，报文就被丢弃。"},
		},
		lang.Text{EN: "on {node}: sysctl -w net.ipv4.conf.all.rp_filter=0", ZH: "在 {node} 上：sysctl -w net.ipv4.conf.all.rp_filter=0"},
	},
	"arp-conflict": {
		lang.Text{EN: "a real server answers ARP for the virtual address", ZH: "真实服务器应答了 VIP 的 ARP 请求"},
		[3]lang.Text{
			{EN: "With -g the director and all servers have the virtual address. Who says so on the network?",
				ZH: "DR 模式（-g）下，调度器和所有真实服务器都有 VIP。在网络上，是谁在宣称拥有它？"},
			{EN: "Look at the parameters of every server, for all interfaces: uvs lab exec {node} -- sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce",
				ZH: "查看每台真实服务器上对所有接口生效的参数：uvs lab exec {node} -- sysctl net.ipv4.conf.all.arp_ignore net.ipv4.conf.all.arp_announce"},
			{EN: "arp_ignore counts on the interface where the question arrives. On {node} it is 0 for all, so eth0 answers for the address on lo.",
				ZH: "arp_ignore 看的是请求到达的接口。{node} 上 conf.all 的值是 0，所以 eth0 会替 lo 上的地址应答。"},
		},
		lang.Text{EN: "on {node}: sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2", ZH: "在 {node} 上：sysctl -w net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2"},
	},
	"mask": {
		lang.Text{EN: "the virtual address on a server's lo has the mask of a network", ZH: "真实服务器 lo 上 VIP 的掩码不是 32 位"},
		[3]lang.Text{
			{EN: "The server has the virtual address. Look exactly at how it has it.", ZH: "真实服务器上有 VIP。请仔细看它是怎样配置的。"},
			{EN: "Compare the servers' loopback interfaces: uvs lab exec {node} -- {ip} addr show lo", ZH: "比较各台真实服务器的回环接口：uvs lab exec {node} -- {ip} addr show lo"},
			{EN: "An address on lo makes its whole network local. On {node} the mask is not that of a single address.",
				ZH: "lo 上的地址会让整个网段都成为本机地址。{node} 上的掩码不是单个地址的掩码。"},
		},
		lang.Text{EN: "on {node}: delete it, and {ip} addr add {single} dev lo", ZH: "在 {node} 上：删除该地址，再执行 {ip} addr add {single} dev lo"},
	},
	"port-map": {
		lang.Text{EN: "a service by direct routing or tunnel at a port that no server has", ZH: "DR 或 TUN 服务使用了真实服务器没有的端口"},
		[3]lang.Text{
			{EN: "The page at port 80 is served. Is it all that the director offers?", ZH: "80 端口的页面正常。调度器只提供这一个服务吗？"},
			{EN: "Look at all services and the ports of their servers: uvs lab exec {director} -- ipvsadm -Ln", ZH: "查看所有服务及其真实服务器的端口：uvs lab exec {director} -- ipvsadm -Ln"},
			{EN: "Direct routing and tunnels change no port: who asks at 8080 comes to the server's port 8080, where nobody listens.",
				ZH: "DR 和 TUN 不改端口：访问 8080 的请求会到达真实服务器的 8080 端口，而那里没有程序监听。"},
		},
		lang.Text{EN: "on {director}: ipvsadm -D -t the service at port 8080", ZH: "在 {director} 上：用 ipvsadm -D -t 删除 8080 端口的服务"},
	},
	"neighbour": {
		lang.Text{EN: "a server in the list does not exist", ZH: "服务中有一台不存在的真实服务器"},
		[3]lang.Text{
			{EN: "Some requests are answered, others hang. What do those that hang have in common?", ZH: "有的请求得到应答，有的一直等待。等待的那些有什么共同点？"},
			{EN: "Compare the list of servers with the hosts there are: uvs lab exec {director} -- ipvsadm -Ln, and {ip} neigh", ZH: "把真实服务器列表与实际的主机对照：uvs lab exec {director} -- ipvsadm -Ln，以及 {ip} neigh"},
			{EN: "Nobody answers for one of the addresses in the list: that host is not there.", ZH: "列表中有一个地址没有任何主机应答：那台主机并不存在。"},
		},
		lang.Text{EN: "on {director}: ipvsadm -d {service} -r the address that is wrong", ZH: "在 {director} 上：ipvsadm -d {service} -r 错误的地址"},
	},
	"listen": {
		lang.Text{EN: "a web server listens on its own address only", ZH: "Web 服务只监听在真实服务器自己的地址上"},
		[3]lang.Text{
			{EN: "Connections are refused, and yet the program runs. With which destination address do packets come to a server by -g and -i?",
				ZH: "连接被拒绝，但程序在运行。DR 和 TUN 模式下，到达真实服务器的报文的目的地址是什么？"},
			{EN: "Look at what the program listens on: uvs lab exec {node} -- ss -ltn", ZH: "看看程序监听在哪个地址：uvs lab exec {node} -- ss -ltn"},
			{EN: "On {node} the web server listens on {rip} only. The packets are for {vip}.", ZH: "{node} 上的 Web 服务只监听 {rip}，而报文的目的地址是 {vip}。"},
		},
		lang.Text{EN: "let it listen on all addresses: uvs lab kill {node}, uvs lab start {node}", ZH: "让它监听所有地址：uvs lab kill {node}，再 uvs lab start {node}"},
	},
	"no-decap": {
		lang.Text{EN: "nobody takes the outer header off", ZH: "没有程序去掉隧道的外层首部"},
		[3]lang.Text{
			{EN: "With -i the server gets a packet inside a packet. Who opens it there?", ZH: "TUN 模式（-i）下，真实服务器收到的是报文里套着报文。在那里由谁来拆开？"},
			{EN: "Look at the server's answers, and at its programs: uvs lab exec {node} -- tcpdump -ni eth0 icmp, and uvs lab inspect", ZH: "查看真实服务器发回的报文和运行的程序：uvs lab exec {node} -- tcpdump -ni eth0 icmp，以及 uvs lab inspect"},
			{EN: "{node} answers with ICMP protocol unreachable: its decapsulator is dead.", ZH: "{node} 回了 ICMP 协议不可达：它的解封装程序已经退出。"},
		},
		lang.Text{EN: "uvs lab start {node}, or uvs decap on it", ZH: "uvs lab start {node}，或在其上运行 uvs decap"},
	},
	"mtu": {
		lang.Text{EN: "an interface has another MTU than its network", ZH: "某个接口的 MTU 与所在网络不一致"},
		[3]lang.Text{
			{EN: "Small packets pass. Try large ones.", ZH: "小报文能通过。试试大报文。"},
			{EN: "Compare the MTU of all interfaces of a network: uvs lab exec {node} -- ip link, or try: uvs lab exec {director} -- ping -s 1472 {rip}",
				ZH: "比较同一网络上所有接口的 MTU：uvs lab exec {node} -- ip link；或试试：uvs lab exec {director} -- ping -s 1472 {rip}"},
			{EN: "eth0 of {node} has the MTU 1400. What others send it with 1500 bytes is lost.", ZH: "{node} 的 eth0 的 MTU 是 1400，别人发给它的 1500 字节的报文会丢失。"},
		},
		lang.Text{EN: "on {node}: ip link set eth0 mtu 1500, or what the network has", ZH: "在 {node} 上：ip link set eth0 mtu 1500（或该网络的 MTU）"},
	},
	"self-client": {
		lang.Text{EN: "a program on the director asks its own virtual service", ZH: "调度器上的程序访问自己的虚拟服务"},
		[3]lang.Text{
			{EN: "Clients are served. Somebody else is not: look at the director's connections.", ZH: "客户端正常，但有别人没有得到服务：看看调度器的连接表。"},
			{EN: "Look at who waits: uvs lab exec {director} -- ipvsadm -Lcn", ZH: "看看是谁在等待：uvs lab exec {director} -- ipvsadm -Lcn"},
			{EN: "Connections in SYN_RECV come from {vip} itself. A server that has this address takes the packets for its own and cannot answer.",
				ZH: "处于 SYN_RECV 的连接来自 {vip} 自己。拥有这个地址的真实服务器把报文当成自己发的，无法应答。"},
		},
		lang.Text{EN: "on {director}: end the program that asks; ask from another host", ZH: "在 {director} 上：结束那个程序；从其他主机访问"},
	},
	"persistence": {
		lang.Text{EN: "the service is persistent", ZH: "服务启用了持久连接"},
		[3]lang.Text{
			{EN: "Every request is answered. Count by whom.", ZH: "每个请求都有应答。数一数是谁应答的。"},
			{EN: "Look at the service's line, to its end: uvs lab exec {director} -- ipvsadm -Ln", ZH: "看服务那一行，看到行尾：uvs lab exec {director} -- ipvsadm -Ln"},
			{EN: "With -p all connections of a client go to one server for 300 s, whatever the scheduler says.", ZH: "有 -p 时，300 秒内同一客户端的所有连接都到同一台真实服务器，与调度算法无关。"},
		},
		lang.Text{EN: "on {director}: ipvsadm -E {service} -s with the scheduler, and without -p", ZH: "在 {director} 上：ipvsadm -E {service} -s 调度算法，不加 -p"},
	},
	"firewall": {
		lang.Text{EN: "a packet filter on a server keeps requests out", ZH: "真实服务器上的防火墙拦截了请求"},
		[3]lang.Text{
			{EN: "Routes and addresses are right, the program listens. What is between the interface and the program?", ZH: "路由和地址都对，程序也在监听。接口与程序之间还有什么？"},
			{EN: "Look at the packet filters of the servers: uvs lab exec {node} -- nft list ruleset", ZH: "查看真实服务器的包过滤规则：uvs lab exec {node} -- nft list ruleset"},
			{EN: "A rule in the chain input of {node} drops or rejects packets to port 80.", ZH: "{node} 的 input 链中有一条规则丢弃或拒绝了发往 80 端口的报文。"},
		},
		lang.Text{EN: "on {node}: nft delete table inet filter", ZH: "在 {node} 上：nft delete table inet filter"},
	},
	"inactive-grows": {
		lang.Text{EN: "connections that are over stay in the table for hours", ZH: "已结束的连接在连接表中停留数小时"},
		[3]lang.Text{
			{EN: "Clients are served. Look at what stays behind after them.", ZH: "客户端正常。看看它们离开之后留下了什么。"},
			{EN: "Look at InActConn, and at the timeouts: uvs lab exec {director} -- ipvsadm -Ln --timeout", ZH: "看 InActConn 以及超时时间：uvs lab exec {director} -- ipvsadm -Ln --timeout"},
			{EN: "The second timeout, after a FIN, is 7200 s. By default it is 120 s.", ZH: "第二个超时（收到 FIN 之后）是 7200 秒，默认是 120 秒。"},
		},
		lang.Text{EN: "on {director}: ipvsadm --set 0 120 0", ZH: "在 {director} 上：ipvsadm --set 0 120 0"},
	},
	"conntrack": {
		lang.Text{EN: "rules with the state of connections, where only half of each is seen", ZH: "在只能看到一半流量的地方使用连接状态规则"},
		[3]lang.Text{
			{EN: "Clients are served. Look at what the director's packet filter is meant to do.", ZH: "客户端正常。看看调度器上的包过滤规则想做什么。"},
			{EN: "Look at the rules: uvs lab exec {director} -- nft list ruleset", ZH: "查看规则：uvs lab exec {director} -- nft list ruleset"},
			{EN: "A rule with ct state. By -g and -i replies do not pass the director, and what it forwards does not come to this chain.",
				ZH: "有一条 ct state 规则。DR 和 TUN 模式下应答不经过调度器，而且调度器转发的报文也不经过这条链。"},
		},
		lang.Text{EN: "on {director}: nft delete table inet filter", ZH: "在 {director} 上：nft delete table inet filter"},
	},
	"synproxy": {
		lang.Text{EN: "a SYN proxy where replies do not pass", ZH: "在应答不经过的地方使用 SYN 代理"},
		[3]lang.Text{
			{EN: "Look at what the director's packet filter is meant to do with SYNs.", ZH: "看看调度器上的包过滤规则想怎样处理 SYN。"},
			{EN: "Look at the rules: uvs lab exec {director} -- nft list ruleset", ZH: "查看规则：uvs lab exec {director} -- nft list ruleset"},
			{EN: "A SYN proxy has to see both directions. By -g and -i it sees one.", ZH: "SYN 代理必须看到两个方向的报文，而 DR 和 TUN 模式下只能看到一个方向。"},
		},
		lang.Text{EN: "on {director}: nft delete table inet filter; a proxy is possible by -m and --fullnat: uvs synproxy", ZH: "在 {director} 上：nft delete table inet filter；只有 -m 和 --fullnat 才能用 SYN 代理：uvs synproxy"},
	},
}
