// Package proc writes the files that the kernel's IPVS has in /proc/net, in its formats,
// so that programs that read them work with a director: ip_vs, ip_vs_conn,
// ip_vs_conn_sync, ip_vs_stats, ip_vs_stats_percpu and ip_vs_app (Linux 6.1, ip_vs_ctl.c,
// ip_vs_conn.c and ip_vs_app.c).
//
// Three things in them belong to the kernel and do not exist here: the size of the hash
// table, shown as the kernel's default; the length of a jiffy, the unit of persistence
// timeouts, taken as 1/250 s; and counters for each CPU, shown as one CPU with the total.
package proc

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"net/netip"
	"strconv"
	"strings"

	"uvs/forwarder/config"
	"uvs/internal/ipvsadm"
)

// jiffies are the kernel's ticks a second.
const jiffies = 250

// Services writes ip_vs, the table of services and real servers, from services
// in the order of addition.
func Services(w io.Writer, services []config.ServiceState) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "IP Virtual Server version 1.2.1 (size=%d)\n", ipvsadm.TableSize)
	fmt.Fprint(out, "Prot LocalAddress:Port Scheduler Flags\n  -> RemoteAddress:Port Forward Weight ActiveConn InActConn\n")
	ipvsadm.KernelOrder(services)
	for _, v := range services {
		fmt.Fprintf(out, "%s%s\n", serviceName(v.Service), persistence(v.Service))
		for _, s := range v.Servers {
			fmt.Fprintf(out, "  -> %s:%04X      %-7s %-6d %-10d %-10d\n",
				bracketed(s.Addr), s.Port, s.Method, s.Weight, s.Active, s.Inactive)
		}
	}
	return out.Flush()
}

// serviceName returns a service's line up to its persistence. One-packet scheduling is
// not shown for services with an IPv6 address.
func serviceName(v config.Service) string {
	ops := ""
	if v.OnePacket {
		ops = "ops "
	}
	switch {
	case v.Mark != 0:
		return fmt.Sprintf("FWM  %08X %s %s", v.Mark, v.Scheduler, ops)
	case v.Addr.Is6():
		return fmt.Sprintf("%s  %s:%04X %s ", v.Proto, bracketed(v.Addr), v.Port, v.Scheduler)
	}
	return fmt.Sprintf("%s  %s:%04X %s %s ", v.Proto, bracketed(v.Addr), v.Port, v.Scheduler, ops)
}

func persistence(v config.Service) string {
	if v.Persistent == 0 {
		return ""
	}
	return fmt.Sprintf("persistent %d %08X", v.Persistent*jiffies, maskNumber(v))
}

// maskNumber returns the netmask as the kernel prints it: an IPv6 prefix length has its
// bytes in reverse order.
func maskNumber(v config.Service) uint32 {
	if v.Normal().Family == config.IPv6 {
		bits, err := strconv.ParseUint(v.Netmask, 10, 8)
		if err != nil {
			bits = 128
		}
		return uint32(bits) << 24
	}
	mask, err := v.Mask()
	if err != nil {
		return 0xffffffff
	}
	return uint32(mask[12])<<24 | uint32(mask[13])<<16 | uint32(mask[14])<<8 | uint32(mask[15])
}

// hex writes an address in full: 0A000001, or fd00:0000:…:0001.
func hex(a netip.Addr) string {
	if a.Is4() {
		return fmt.Sprintf("%X", a.As4())
	}
	return a.StringExpanded()
}

func bracketed(a netip.Addr) string {
	if a.Is4() {
		return hex(a)
	}
	return "[" + hex(a) + "]"
}

// Connections writes ip_vs_conn and, with the origin of each entry,
// ip_vs_conn_sync.
func Connections(conn, sync io.Writer, all iter.Seq2[config.Connection, error]) error {
	c, s := bufio.NewWriter(conn), bufio.NewWriter(sync)
	c.WriteString("Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData\n")
	s.WriteString("Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Origin Expires\n")
	for e, err := range all {
		if err != nil {
			return err
		}
		ends := fmt.Sprintf("%-3s %s %s %s %-11s", e.Proto, end(e.Client), end(e.Virtual), end(e.Server), e.State)
		seconds := e.Expires / 1000
		fmt.Fprintf(c, "%s %7d", ends, seconds)
		if e.PEName != "" {
			fmt.Fprintf(c, " %s %s", e.PEName, e.PEData)
		}
		c.WriteByte('\n')
		origin := "LOCAL"
		if e.Synced {
			origin = "SYNC"
		}
		fmt.Fprintf(s, "%s %-6s %7d\n", ends, origin, seconds)
	}
	if err := c.Flush(); err != nil {
		return err
	}
	return s.Flush()
}

func end(a netip.AddrPort) string { return fmt.Sprintf("%s %04X", hex(a.Addr()), a.Port()) }

// Stats writes ip_vs_stats.
func Stats(w io.Writer, t config.Stats) error {
	_, err := fmt.Fprintf(w, "   Total Incoming Outgoing         Incoming         Outgoing\n"+
		"   Conns  Packets  Packets            Bytes            Bytes\n%s\n\n"+
		" Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n%s\n", counts(t), rates(t))
	return err
}

func counts(t config.Stats) string {
	return fmt.Sprintf("%8X %8X %8X %16X %16X", t.Conns, t.InPkts, t.OutPkts, t.InBytes, t.OutBytes)
}

func rates(t config.Stats) string {
	return fmt.Sprintf("%8X %8X %8X %16X %16X", t.CPS, t.InPPS, t.OutPPS, t.InBPS, t.OutBPS)
}

// PerCPU writes ip_vs_stats_percpu as on a machine with one CPU.
func PerCPU(w io.Writer, t config.Stats) error {
	_, err := fmt.Fprintf(w, "       Total Incoming Outgoing         Incoming         Outgoing\n"+
		"CPU    Conns  Packets  Packets            Bytes            Bytes\n  0 %s\n  ~ %s\n\n"+
		"     Conns/s   Pkts/s   Pkts/s          Bytes/s          Bytes/s\n    %s\n", counts(t), counts(t), rates(t))
	return err
}

// Apps writes ip_vs_app, in which there is nothing.
func Apps(w io.Writer) error {
	_, err := io.Copy(w, strings.NewReader("prot port    usecnt name\n"))
	return err
}
