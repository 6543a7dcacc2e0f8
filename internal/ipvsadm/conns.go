package ipvsadm

import (
	"iter"
	"net/netip"
	"strings"

	"uvs/forwarder/config"
)

// connections prints the connection table.
func (w *writer) connections(all iter.Seq2[config.Connection, error]) error {
	w.printf("IPVS connection entries\n%-3s %-6s %-11s %-18s %-18s ", "pro", "expire", "state", "source", "virtual")
	if w.is(optPersistentConn) {
		w.printf("%-18s %-16s %s\n", "destination", "pe name", "pe_data")
	} else {
		w.printf("destination\n")
	}
	for c, err := range all {
		if err != nil {
			return err
		}
		w.connection(c)
	}
	return nil
}

func (w *writer) connection(c config.Connection) {
	seconds := c.Expires / 1000
	w.printf("%-3s %02d:%02d  %-11s %-18s %-18s ", c.Proto, seconds/60, seconds%60, c.State,
		w.end(c.Client, c.Proto), w.end(c.Virtual, c.Proto))
	server := w.end(c.Server, c.Proto)
	if !w.is(optPersistentConn) || c.PEName == "" {
		w.printf("%s\n", server)
		return
	}
	w.printf("%-16s %-18s %s\n", server, c.PEName, c.PEData) // narrower than its title
}

func (w *writer) end(a netip.AddrPort, p config.Proto) string {
	return w.addrPort(a.Addr(), a.Port(), p)
}

// daemons prints the synchronization daemons.
func (w *writer) daemons(all []config.Daemon) {
	for _, d := range all {
		w.printf("%s sync daemon (mcast=%s, syncid=%d, maxlen=%d, group=%s, port=%d, ttl=%d)\n",
			d.State, d.Interface, d.SyncID, d.MaxLen, d.Group, d.Port, d.TTL)
	}
}

// locals prints the local addresses of services for FULLNAT, which ipvsadm does not have.
func (w *writer) locals(services []config.ServiceState) {
	w.printf("%-33s %s\n", "Prot LocalAddress:Port", "FullNAT local addresses")
	mergeSort(services, compareServices)
	for _, v := range services {
		addrs := make([]string, len(v.Local))
		for i, a := range v.Local {
			addrs[i] = addrText(a)
		}
		w.printf("%-33s %s\n", w.serviceName(v.Key), strings.Join(addrs, " "))
	}
}
