package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/peer"
)

func servicesCmd() *cobra.Command {
	var socket string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "services [SERVICE]...",
		Short: "List services and real servers with their counters and rates",
		Long: `List services and real servers with their settings, connections, counters and
rates: what ipvsadm -Ln, --stats and --rate say, in one table. Figures have units:
1.5k are 1500, and traffic is in bits a second. --json has all of it in exact numbers,
as GET /v1/services of the API. A SERVICE is one such as tcp:10.0.0.1:80 or mark:7.

  uvs services --json | jq '.[].servers[] | {address, active_connections}'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c := client.New(socket)
			list := []config.ServiceState{}
			for _, name := range args {
				k, err := config.ParseKey(name)
				if err != nil {
					return fmt.Errorf("services: %w", err)
				}
				v, err := c.Service(cmd.Context(), k)
				if err != nil {
					return err
				}
				list = append(list, v)
			}
			if len(args) == 0 {
				var err error
				if list, err = c.Services(cmd.Context()); err != nil {
					return err
				}
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(list)
			}
			return printServices(cmd.OutOrStdout(), list)
		},
	}
	cmd.Flags().StringVar(&socket, "socket", peer.Socket(), "control socket of the director")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func printServices(w io.Writer, list []config.ServiceState) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "SERVICE / SERVER\tBY\tWEIGHT\tACTIVE\tINACTIVE\tCONNS\tPACKETS IN\tOUT\tBYTES IN\tOUT\tCONNS/S\tPKTS/S IN\tOUT\tBIT/S IN\tOUT")
	for i := range list {
		v := &list[i]
		var active, inactive uint32
		for j := range v.Servers {
			active, inactive = active+v.Servers[j].Active, inactive+v.Servers[j].Inactive
		}
		fmt.Fprintf(t, "%s\t%s\t\t%d\t%d\t%s\n", v.Name(), v.Scheduler, active, inactive, figures(&v.Stats))
		for j := range v.Servers {
			s := &v.Servers[j]
			fmt.Fprintf(t, "  %s\t%s\t%s\t%d\t%d\t%s\n", s.AddrPort(), s.Method, weightText(s), s.Active, s.Inactive, figures(&s.Stats))
		}
	}
	return t.Flush()
}

// weightText is a server's weight, with what keeps it from new connections besides.
func weightText(s *config.ServerState) string {
	text := fmt.Sprint(s.Weight)
	if s.Held {
		text += " held"
	}
	if s.Overloaded {
		text += " full"
	}
	return text
}

// figures are the counters and rates of a row.
func figures(s *config.Stats) string {
	text := ""
	for i, n := range []uint64{s.Conns, s.InPkts, s.OutPkts, s.InBytes, s.OutBytes, s.CPS, s.InPPS, s.OutPPS, 8 * s.InBPS, 8 * s.OutBPS} {
		if i > 0 {
			text += "\t"
		}
		text += short(n)
	}
	return text
}

// short is a number of up to four digits, with the unit of a thousand, a million and so on.
func short(n uint64) string {
	if n < 10_000 {
		return fmt.Sprint(n)
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"k", "M", "G", "T", "P", "E"} {
		if v /= 1000; v < 999.5 {
			break
		}
	}
	if v < 9.995 {
		return fmt.Sprintf("%.2f%s", v, unit)
	}
	if v < 99.95 {
		return fmt.Sprintf("%.1f%s", v, unit)
	}
	return fmt.Sprintf("%.0f%s", v, unit)
}
