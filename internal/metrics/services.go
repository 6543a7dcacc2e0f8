package metrics

import (
	"fmt"
	"net/netip"
	"strconv"

	dto "github.com/prometheus/client_model/go"

	"uvs/forwarder/config"
	"uvs/forwarder/service"
)

// Labels that many series share.
var (
	dirIn      = label("direction", "in")
	dirOut     = label("direction", "out")
	active     = label("state", "active")
	inactive   = label("state", "inactive")
	persistent = label("state", "persistent")
)

// serviceName returns a service as ipvsadm lists it: "TCP 10.2.0.1:80", "FWM 7",
// "FWM 7 IPv6".
func serviceName(k config.Key) string {
	if k.Mark == 0 {
		return k.Proto.String() + " " + netip.AddrPortFrom(k.Addr, k.Port).String()
	}
	if k.Family == config.IPv6 {
		return fmt.Sprintf("FWM %d IPv6", k.Mark)
	}
	return fmt.Sprintf("FWM %d", k.Mark)
}

// serviceFamilies are the families of services and servers.
type serviceFamilies struct {
	info, conns, packets, bytes             family
	serverConns, serverPackets, serverBytes family
	now, weight, up, overloaded, held       family
	noReply, resets, unreachable            family
}

func (f *families) services() serviceFamilies {
	return serviceFamilies{
		info:          f.gauge("uvs_service_info", "A virtual service: how it is addressed and scheduled."),
		conns:         f.counter("uvs_service_connections_total", "Connections that were scheduled."),
		packets:       f.counter("uvs_service_packets_total", "Packets of the service's connections, from clients (in) and to them (out)."),
		bytes:         f.counter("uvs_service_bytes_total", "Bytes of IP packets of the service's connections, from clients (in) and to them (out)."),
		serverConns:   f.counter("uvs_server_connections_total", "Connections that were scheduled to the real server."),
		serverPackets: f.counter("uvs_server_packets_total", "Packets of the server's connections, from clients (in) and to them (out)."),
		serverBytes:   f.counter("uvs_server_bytes_total", "Bytes of IP packets of the server's connections, from clients (in) and to them (out)."),
		now:           f.gauge("uvs_server_connections", "Connections with the server now: active, inactive, and templates of persistence."),
		weight:        f.gauge("uvs_server_weight", "Weight of the server."),
		up:            f.gauge("uvs_server_up", "Whether the server is to get new connections: its weight is not 0, and no check holds it."),
		held:          f.gauge("uvs_server_held", "Whether a check keeps new connections from the server, whatever its weight."),
		noReply:       f.counter("uvs_server_no_reply_total", "Connections to the server whose client had to repeat its SYN."),
		resets:        f.counter("uvs_server_resets_total", "Resets of the server in answer to a SYN."),
		unreachable:   f.counter("uvs_server_unreachable_total", "ICMP errors, destination unreachable, about packets to the server."),
		overloaded:    f.gauge("uvs_server_overloaded", "Whether the server has as many connections as its upper threshold allows."),
	}
}

// add adds the series of a service. It takes no lock: what it reads are the counters
// themselves, which zeroing does not change.
func (f *serviceFamilies) add(v *service.Service) {
	name := label("service", serviceName(v.Key))
	f.info.add(1, append([]*dto.LabelPair{name, label("scheduler", v.Scheduler)}, address(v.Key)...)...)
	t := v.Counters.Load()
	f.conns.count(t.Conns, name)
	f.packets.count(t.InPkts, name, dirIn)
	f.packets.count(t.OutPkts, name, dirOut)
	f.bytes.count(t.InBytes, name, dirIn)
	f.bytes.count(t.OutBytes, name, dirOut)
	for _, s := range v.Servers {
		f.addServer(name, s)
	}
}

// address returns the labels of a service's address, as node_exporter has its parts.
func address(k config.Key) []*dto.LabelPair {
	if k.Mark != 0 {
		return []*dto.LabelPair{label("proto", "FWM"), label("address", ""), label("port", ""), label("mark", strconv.FormatUint(uint64(k.Mark), 10))}
	}
	return []*dto.LabelPair{label("proto", k.Proto.String()), label("address", k.Addr.String()), label("port", strconv.Itoa(int(k.Port))), label("mark", "")}
}

func (f *serviceFamilies) addServer(of *dto.LabelPair, s *service.Server) {
	name := label("server", s.Addr.String())
	t := s.Counters.Load()
	f.serverConns.count(t.Conns, of, name)
	f.serverPackets.count(t.InPkts, of, name, dirIn)
	f.serverPackets.count(t.OutPkts, of, name, dirOut)
	f.serverBytes.count(t.InBytes, of, name, dirIn)
	f.serverBytes.count(t.OutBytes, of, name, dirOut)
	f.now.add(float64(s.Active()), of, name, active)
	f.now.add(float64(s.Inactive()), of, name, inactive)
	f.now.add(float64(s.Persistent()), of, name, persistent)
	f.weight.add(float64(s.Options().Weight), of, name)
	f.held.truth(s.Held(), of, name)
	r := s.Refusals.Load()
	f.noReply.count(r.NoReply, of, name)
	f.resets.count(r.Resets, of, name)
	f.unreachable.count(r.Unreachable, of, name)
	f.up.truth(s.Weight() > 0, of, name)
	f.overloaded.truth(s.Overloaded(), of, name)
}
