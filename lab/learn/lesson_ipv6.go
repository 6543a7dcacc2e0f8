package learn

import (
	"uvs/internal/lang"
	"uvs/lab"
)

// overIPv6: experiment 1 over IPv6.
var overIPv6 = Lesson{
	Name:  "ipv6",
	Title: lang.Text{EN: "IPv6: the same, and what differs", ZH: "IPv6：相同之处与不同之处"},
	Goal: lang.Text{
		EN: "You type the rules of experiment 1 over IPv6, know who answers for the VIP there, and what DR needs less.",
		ZH: "用 IPv6 输入实验一的规则，弄清在那里由谁替 VIP 应答，以及 DR 少了哪些要求。",
	},
	Picture: `
client ──fd00:172:16::/64── director ──fd00:192:168:166::/64── rs1, rs2
::253:36      VIP ::253:63             ::130                   ::129, ::131`,
	Ways:     nat.Ways,
	Topology: "nat6",
	Options:  lab.Options{Bare: true},
	Steps: []Step{
		{
			Name:  "rules",
			Title: lang.Text{EN: "The rules", ZH: "规则"},
			Task: lang.Text{
				EN: "An IPv6 address has colons of its own, so it stands in brackets before a port. Make the service and both servers by NAT.",
				ZH: "IPv6 地址本身带冒号，所以在端口之前要用方括号括起来。建立服务，并添加两台 NAT 模式的服务器。",
			},
			Type: on("director", "ipvsadm -A -t [fd00:172:16::253:63]:80 -s rr",
				"ipvsadm -a -t [fd00:172:16::253:63]:80 -r [fd00:192:168:166::129]:80 -m",
				"ipvsadm -a -t [fd00:172:16::253:63]:80 -r [fd00:192:168:166::131]:80 -m"),
			Checks: []Check{
				hasService(vip6, "rr"),
				hasServers(vip6, "[fd00:192:168:166::129]:80 -m", "[fd00:192:168:166::131]:80 -m"),
			},
			Why: lang.Text{
				EN: "Service and servers are of one address family by NAT. Only -f (a firewall mark) needs -6 beside it: there is no address to see the family by.",
				ZH: "使用 NAT 时，服务和服务器属于同一地址族。只有 -f（防火墙标记）才需要加 -6：那里没有地址可以看出地址族。",
			},
		},
		{
			Name:  "ask",
			Title: lang.Text{EN: "Ask", ZH: "访问"},
			Task: lang.Text{
				EN: "Make at least four requests. In a URL the address stands in brackets, too, and the shell would take them for its own: quote them.",
				ZH: "至少发四个请求。在 URL 中地址同样要用方括号，而 shell 会把方括号当成自己的语法，所以要加引号。",
			},
			Type:   look("client", "uvs get -n 4 'http://[fd00:172:16::253:63]/'", "curl -s 'http://[fd00:172:16::253:63]/client'"),
			Checks: []Check{spread(vip6, 4, Shares{"[fd00:192:168:166::129]:80": 1, "[fd00:192:168:166::131]:80": 1})},
			Why: lang.Text{
				EN: "Everything above the address is the same: schedulers, states, timeouts, counters.",
				ZH: "地址以上的一切都相同：调度算法、状态、超时、计数器。",
			},
		},
		{
			Name:  "neighbour",
			Title: lang.Text{EN: "Who has the VIP?", ZH: "谁持有 VIP？"},
			Task: lang.Text{
				EN: "There is no ARP. A host asks for a MAC address by a neighbour solicitation, and the director answers with an advertisement. Look at what the client has learned.",
				ZH: "IPv6 没有 ARP。主机用邻居请求（NS）询问 MAC 地址，调度器用邻居通告（NA）应答。看看客户端学到了什么。",
			},
			Type: look("client", "ip -6 neigh show fd00:172:16::253:63"),
			Ask: &Question{
				Text:  lang.Text{EN: "Which MAC address has the VIP for the client?", ZH: "在客户端看来，VIP 的 MAC 地址是什么？"},
				Right: macOf("client", "fd00:172:16::253:63"),
			},
			Why: lang.Text{
				EN: "By DR and TUN real servers have the VIP on lo here, too, as /128. They need no parameters to be silent: Linux answers a solicitation only for addresses of the interface on which it came. arp_ignore has no counterpart, because none is needed.",
				ZH: "使用 DR 和 TUN 时，真实服务器的 lo 上同样配 VIP，掩码为 /128。但不需要设置参数让它们沉默：Linux 只为收到邻居请求的那个接口上的地址应答。arp_ignore 在这里没有对应的参数，因为不需要。",
			},
		},
		{
			Name:  "save",
			Title: lang.Text{EN: "Save, clear, restore", ZH: "保存、清空、恢复"},
			Task: lang.Text{
				EN: "Save the rules in /run/rules, clear them, and restore them: the same three commands as with IPv4.",
				ZH: "把规则保存到 /run/rules，清空，再恢复：与 IPv4 相同的三条命令。",
			},
			Type: on("director", "ipvsadm -S -n >/run/rules", "ipvsadm -C", "ipvsadm -R </run/rules"),
			Checks: []Check{
				fileHas("director", "/run/rules", "-A -t [fd00:172:16::253:63]:80 -s rr"),
				hasService(vip6, "rr"),
				hasServers(vip6, "[fd00:192:168:166::129]:80 -m", "[fd00:192:168:166::131]:80 -m"),
			},
			Why: lang.Text{
				EN: "What -S prints is what -R reads, one command a line. Rules that are typed are gone with the machine: save them, or run the director with --rules FILE.",
				ZH: "-S 的输出就是 -R 的输入，每行一条命令。手工输入的规则会随机器重启而消失：要么保存下来，要么用 --rules FILE 运行调度器。",
			},
		},
	},
}

const vip6 = "[fd00:172:16::253:63]:80"
