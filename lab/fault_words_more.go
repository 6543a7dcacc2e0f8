package lab

import (
	"maps"

	"uvs/internal/lang"
)

func init() { maps.Copy(wordsOfFaults, moreFaultWords) }

// moreFaultWords are the texts about the other faults.
var moreFaultWords = map[string]faultWords{
	"rules-lost": {
		lang.Text{EN: "the director has no services", ZH: "调度器没有任何服务"},
		[3]lang.Text{
			{EN: "The director runs, and nobody is served. Does it know what it is to do?", ZH: "调度器在运行，却没有人得到服务。它知道自己该做什么吗？"},
			{EN: "Look at its rules: uvs lab exec {director} -- ipvsadm -Ln", ZH: "查看它的规则：uvs lab exec {director} -- ipvsadm -Ln"},
			{EN: "The list is empty: somebody has typed ipvsadm -C, or the rules were not saved.", ZH: "列表是空的：有人执行了 ipvsadm -C，或者规则没有保存。"},
		},
		lang.Text{EN: "on {director}: type the rules again; uvs lab inspect lists them", ZH: "在 {director} 上：重新输入规则，uvs lab inspect 会列出它们"},
	},
	"local-address": {
		lang.Text{EN: "the service's local address does not lead to the director", ZH: "服务的本地地址不能把应答带回调度器"},
		[3]lang.Text{
			{EN: "With --fullnat the server answers to an address of the director. Which one?", ZH: "FULLNAT 模式下，真实服务器应答的是调度器的一个地址。是哪一个？"},
			{EN: "Look at the local addresses: uvs lab exec {director} -- uvs services --json, and at the routes of the servers and the gateway to them",
				ZH: "查看本地地址：uvs lab exec {director} -- uvs services --json，以及真实服务器和网关到它的路由"},
			{EN: "The local address is in no network of the lab, so nobody knows the way to it. It has to be an address of the director's inner network.",
				ZH: "这个本地地址不属于实验环境的任何网段，没有谁知道怎样到达它。它应当是调度器内侧网段的地址。"},
		},
		lang.Text{EN: "on {director}: ipvsadm --add-laddr {service} --laddr an address of the inner network; --del-laddr the other", ZH: "在 {director} 上：ipvsadm --add-laddr {service} --laddr 内侧网段的地址；再用 --del-laddr 删除原来的"},
	},
	"kernel-rst": {
		lang.Text{EN: "the director's own kernel answers for the virtual address", ZH: "调度器主机的内核替 VIP 作了应答"},
		[3]lang.Text{
			{EN: "Connections are refused. Who refuses them: a server, or somebody before it?", ZH: "连接被拒绝。是谁拒绝的：真实服务器，还是它前面的谁？"},
			{EN: "Look at the director's addresses and at how it was started: uvs lab exec {director} -- {ip} addr, and ps or uvs lab logs {director}",
				ZH: "查看调度器的地址以及它的启动方式：uvs lab exec {director} -- {ip} addr，以及 ps 或 uvs lab logs {director}"},
			{EN: "The virtual address is on an interface, and the director runs with --no-guard: the host's kernel sees the SYN, has no listener and sends RST.",
				ZH: "VIP 配在接口上，而调度器是用 --no-guard 启动的：主机内核看到 SYN，发现没有监听者，就回了 RST。"},
		},
		lang.Text{EN: "start the director with its guard: uvs lab kill {director}, uvs lab start {director}", ZH: "让调度器带防护启动：uvs lab kill {director}，再 uvs lab start {director}"},
	},
	"double-forward": {
		lang.Text{EN: "the director's kernel forwards replies, too", ZH: "调度器主机的内核也在转发应答"},
		[3]lang.Text{
			{EN: "Look at what the client's interface gets besides the answers.", ZH: "看看客户端的接口除了应答还收到了什么。"},
			{EN: "Capture at the client, and ask: uvs lab exec {client} -- tcpdump -ni eth0 tcp port 80; look at ip_forward and how the director was started",
				ZH: "在客户端抓包并发起请求：uvs lab exec {client} -- tcpdump -ni eth0 tcp port 80；再看 ip_forward 和调度器的启动方式"},
			{EN: "Packets come from the servers' own addresses. ip_forward is 1 and the director runs with --no-guard, so both forward.",
				ZH: "有报文来自真实服务器自己的地址。ip_forward 为 1，而调度器是用 --no-guard 启动的，于是两者都在转发。"},
		},
		lang.Text{EN: "start the director with its guard: uvs lab kill {director}, uvs lab start {director}", ZH: "让调度器带防护启动：uvs lab kill {director}，再 uvs lab start {director}"},
	},
	"vip-missing": {
		lang.Text{EN: "a server does not have the virtual address", ZH: "真实服务器上没有 VIP"},
		[3]lang.Text{
			{EN: "Requests reach the server and nothing comes back. For whom are these packets?", ZH: "请求到了真实服务器却没有回音。这些报文是发给谁的？"},
			{EN: "Compare the addresses of the servers: uvs lab exec {node} -- {ip} addr show lo", ZH: "比较各台真实服务器的地址：uvs lab exec {node} -- {ip} addr show lo"},
			{EN: "By -g and -i the packets are for {vip}. {node} does not have it, so its kernel drops them.", ZH: "DR 和 TUN 模式下报文的目的地址是 {vip}。{node} 上没有它，内核就把报文丢弃了。"},
		},
		lang.Text{EN: "on {node}: {ip} addr add {single} dev lo", ZH: "在 {node} 上：{ip} addr add {single} dev lo"},
	},
	"no-listener": {
		lang.Text{EN: "a web server does not run", ZH: "某台真实服务器的 Web 服务没有运行"},
		[3]lang.Text{
			{EN: "Some requests are refused. Which server are these?", ZH: "有些请求被拒绝。是哪台真实服务器？"},
			{EN: "Look at the services of all nodes, and at who listens: uvs lab inspect, and uvs lab exec {node} -- ss -ltn", ZH: "查看各节点的服务以及谁在监听：uvs lab inspect，以及 uvs lab exec {node} -- ss -ltn"},
			{EN: "Nobody listens at port 80 of {node}.", ZH: "{node} 的 80 端口没有程序监听。"},
		},
		lang.Text{EN: "uvs lab start {node}", ZH: "uvs lab start {node}"},
	},
	"no-server": {
		lang.Text{EN: "all servers have the weight 0", ZH: "所有真实服务器的权重都是 0"},
		[3]lang.Text{
			{EN: "The director knows the service and its servers. May it use them?", ZH: "调度器知道服务和真实服务器。它可以使用它们吗？"},
			{EN: "Look at the column Weight: uvs lab exec {director} -- ipvsadm -Ln", ZH: "看 Weight 一列：uvs lab exec {director} -- ipvsadm -Ln"},
			{EN: "A server with the weight 0 gets no new connections, and all have it.", ZH: "权重为 0 的真实服务器不接受新连接，而这里全都是 0。"},
		},
		lang.Text{EN: "on {director}: ipvsadm -e {service} -r SERVER, with its method and -w 1", ZH: "在 {director} 上：ipvsadm -e {service} -r 真实服务器，加上转发模式和 -w 1"},
	},
	"vip-taken": {
		lang.Text{EN: "another host has the virtual address", ZH: "另一台主机占用了 VIP"},
		[3]lang.Text{
			{EN: "Requests do not even come to the director. Who takes them?", ZH: "请求根本没有到达调度器。是谁收下了它们？"},
			{EN: "Look at the addresses of every host on the way: uvs lab exec {node} -- {ip} addr", ZH: "查看途中每台主机的地址：uvs lab exec {node} -- {ip} addr"},
			{EN: "{node} has {vip} on its lo, so it keeps the packets for itself.", ZH: "{node} 的 lo 上有 {vip}，所以它把报文留给了自己。"},
		},
		lang.Text{EN: "on {node}: {ip} addr del {single} dev lo", ZH: "在 {node} 上：{ip} addr del {single} dev lo"},
	},
	"link-down": {
		lang.Text{EN: "an interface is down", ZH: "某个接口被停用"},
		[3]lang.Text{
			{EN: "One server is not reached at all. Begin at the bottom.", ZH: "有一台真实服务器完全不可达。请从最底层查起。"},
			{EN: "Look at the links: uvs lab exec {node} -- ip link", ZH: "查看链路：uvs lab exec {node} -- ip link"},
			{EN: "eth0 of {node} is down, and its routes went with it.", ZH: "{node} 的 eth0 已停用，它的路由也随之消失。"},
		},
		lang.Text{EN: "on {node}: ip link set eth0 up, then its addresses and routes as uvs lab inspect has them", ZH: "在 {node} 上：ip link set eth0 up，再按 uvs lab inspect 的内容补上地址和路由"},
	},
	"no-forwarding": {
		lang.Text{EN: "the router does not forward", ZH: "路由器没有转发报文"},
		[3]lang.Text{
			{EN: "There is a host between client and cluster. Does it do its work?", ZH: "客户端与集群之间有一台主机。它在工作吗？"},
			{EN: "Look at its parameters: uvs lab exec {node} -- sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding", ZH: "查看它的参数：uvs lab exec {node} -- sysctl net.ipv4.ip_forward net.ipv6.conf.all.forwarding"},
			{EN: "Forwarding is 0 on {node}: it takes packets for itself only.", ZH: "{node} 上的转发开关是 0：它只收发给自己的报文。"},
		},
		lang.Text{EN: "on {node}: sysctl -w {forwarding}=1", ZH: "在 {node} 上：sysctl -w {forwarding}=1"},
	},
	"firewall-unseen": {
		lang.Text{EN: "a rule on the director that never sees the packets", ZH: "调度器上有一条永远看不到报文的规则"},
		[3]lang.Text{
			{EN: "Clients are served, though they should not be. Who believes that they are kept out?", ZH: "客户端仍能访问，尽管本不应该。是谁以为它们被挡住了？"},
			{EN: "Look at the director's packet filter: uvs lab exec {director} -- nft list ruleset", ZH: "查看调度器上的包过滤规则：uvs lab exec {director} -- nft list ruleset"},
			{EN: "A rule in the chain input drops packets to port 80. The director takes frames before the host's stack, so this chain sees none of them.",
				ZH: "input 链中有一条规则丢弃发往 80 端口的报文。调度器在主机协议栈之前就取走了帧，所以这条链一个也看不到。"},
		},
		lang.Text{EN: "on {director}: nft delete table inet filter; filter at the servers, or where frames leave (docs/firewall.md)", ZH: "在 {director} 上：nft delete table inet filter；请在真实服务器上，或在帧离开的地方过滤（docs/firewall.md）"},
	},
	"drop-rate": {
		lang.Text{EN: "the director drops packets on purpose", ZH: "调度器在主动丢包"},
		[3]lang.Text{
			{EN: "Answers come, but slowly. Is anything lost on the way?", ZH: "有应答，但是慢。路上丢了什么吗？"},
			{EN: "Look at what the director drops, and why: uvs lab exec {director} -- uvs drops", ZH: "看看调度器丢了什么、为什么：uvs lab exec {director} -- uvs drops"},
			{EN: "drop-overload grows steadily: a parameter of net.ipv4.vs tells it to drop packets always.", ZH: "drop-overload 一直在增长：net.ipv4.vs 的一个参数让它始终丢包。"},
		},
		lang.Text{EN: "on {director}: sysctl -w net.ipv4.vs.drop_packet=0", ZH: "在 {director} 上：sysctl -w net.ipv4.vs.drop_packet=0"},
	},
	"mark-unset": {
		lang.Text{EN: "a service by mark, and nobody sets the mark", ZH: "有按标记的服务，却没有谁打标记"},
		[3]lang.Text{
			{EN: "The page is served. Is it all that the director offers, and does each service get anything?", ZH: "页面正常。调度器只提供这一个服务吗？每个服务都有流量吗？"},
			{EN: "Look at all services, and at the rules for marks: uvs lab exec {director} -- ipvsadm -Ln, and uvs mark -S", ZH: "查看所有服务和打标记的规则：uvs lab exec {director} -- ipvsadm -Ln，以及 uvs mark -S"},
			{EN: "The service FWM 7 waits for packets with the mark 7, and no rule gives them one.", ZH: "FWM 7 服务等待标记为 7 的报文，但没有规则给报文打这个标记。"},
		},
		lang.Text{EN: "on {director}: give packets the mark (uvs mark), or ipvsadm -D -f 7", ZH: "在 {director} 上：给报文打标记（uvs mark），或 ipvsadm -D -f 7"},
	},
	"no-director": {
		lang.Text{EN: "no director runs", ZH: "调度器没有运行"},
		[3]lang.Text{
			{EN: "Nobody is served, and nothing of it comes to the servers. Who should bring it there?", ZH: "没有人得到服务，真实服务器也没有收到任何东西。应当由谁送过去？"},
			{EN: "Look at the services of the nodes: uvs lab inspect, or uvs lab exec {director} -- ipvsadm -Ln", ZH: "查看各节点的服务：uvs lab inspect，或 uvs lab exec {director} -- ipvsadm -Ln"},
			{EN: "The director's process is dead.", ZH: "调度器的进程已经退出。"},
		},
		lang.Text{EN: "uvs lab start {director}", ZH: "uvs lab start {director}"},
	},
	"left-out": {
		lang.Text{EN: "the director does not work on one of its interfaces", ZH: "调度器没有在其中一个接口上工作"},
		[3]lang.Text{
			{EN: "Requests reach the servers, and they answer. Does the director see the answers?", ZH: "请求到了真实服务器，它们也应答了。调度器看到应答了吗？"},
			{EN: "Look at how the director was started, and at its interfaces: uvs lab logs {director}, and uvs lab exec {director} -- ip link", ZH: "查看调度器的启动方式和接口：uvs lab logs {director}，以及 uvs lab exec {director} -- ip link"},
			{EN: "It was started with -i eth0, and the servers are at eth1.", ZH: "它是用 -i eth0 启动的，而真实服务器在 eth1 一侧。"},
		},
		lang.Text{EN: "start the director without -i: uvs lab kill {director}, uvs lab start {director}", ZH: "不加 -i 启动调度器：uvs lab kill {director}，再 uvs lab start {director}"},
	},
	"two-directors": {
		lang.Text{EN: "two directors serve the same address on one host", ZH: "同一台主机上有两个调度器服务同一个地址"},
		[3]lang.Text{
			{EN: "Packets come twice, or answers from two. Who else is at work?", ZH: "报文出现两次，或者有两个应答者。还有谁在工作？"},
			{EN: "Count the directors: uvs lab exec {director} -- pgrep -fa 'uvs director'", ZH: "数一数调度器：uvs lab exec {director} -- pgrep -fa 'uvs director'"},
			{EN: "A second director was started with --share, and it has the same service.", ZH: "有人用 --share 启动了第二个调度器，它有同样的服务。"},
		},
		lang.Text{EN: "on {director}: end the second one", ZH: "在 {director} 上：结束第二个调度器"},
	},
}
