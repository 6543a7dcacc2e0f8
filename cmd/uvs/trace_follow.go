package main

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"uvs/forwarder/config"
	"uvs/internal/explain"
)

// everything is how many packets to record where the number does not matter.
const everything = 1_000_000

func traceFollowCmd() *cobra.Command {
	var t tracer
	var packets int
	cmd := &cobra.Command{
		Use:   "follow [CLIENT[:PORT]] [FILTER…]",
		Short: "Follow one connection through its rewriting, in both directions",
		Long: `Follow one connection through its rewriting, in both directions: a line for each packet,
with its headers as it came and as it left. Without a client it is the next connection
that begins, of those that match the filter. It ends when the connection does.

  uvs trace follow 172.16.0.9:5000
  uvs trace follow
  uvs trace follow port 443

By direct routing and tunnelling the server's answers do not pass the director.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f := follower{tracer: &t, cmd: cmd}
			if err := f.begin(args); err != nil {
				return err
			}
			return t.each(cmd.Context(), everything, func(r *config.Trace) (bool, error) {
				more, err := f.packet(r)
				return more && (packets == 0 || f.seen < packets), err
			})
		},
	}
	t.flags(cmd)
	cmd.Flags().IntVarP(&packets, "packets", "n", 0, "end after so many packets")
	return cmd
}

// follower follows one connection.
type follower struct {
	*tracer
	cmd      *cobra.Command
	named    bool           // the arguments name the client; otherwise it is the next connection that begins
	client   netip.AddrPort // of the connection, once it is known
	virtual  netip.AddrPort
	seen     int
	first    config.Trace
	finished explain.Ending
}

// begin reads the arguments.
func (f *follower) begin(args []string) error {
	filter := ""
	if len(args) > 0 {
		if _, err := netip.ParseAddrPort(args[0]); err == nil {
			filter, args = "client "+args[0], args[1:]
		} else if _, err := netip.ParseAddr(args[0]); err == nil {
			filter, args = "client "+args[0], args[1:]
		}
	}
	if _, err := f.words(args, 1); err != nil {
		return err
	}
	f.named = filter != ""
	switch {
	case f.named && f.options.Filter != "":
		f.options.Filter = filter + " and (" + f.options.Filter + ")"
	case f.named:
		f.options.Filter = filter
	case f.options.Filter != "":
		f.options.Filter = "reply or (" + f.options.Filter + ")" // the answers may have other addresses and ports
	}
	return nil
}

// packet prints a packet if it is one of the connection, and reports whether more may come.
func (f *follower) packet(r *config.Trace) (bool, error) {
	if !f.virtual.IsValid() {
		if !r.Client.IsValid() || !f.named && !explain.Opens(r) {
			return true, nil
		}
		f.client, f.virtual, f.first = r.Client, r.Virtual, *r
	}
	if r.Client != f.client || r.Virtual != f.virtual {
		return true, nil
	}
	f.seen++
	if f.asJSON {
		if err := f.print(f.cmd.OutOrStdout(), r); err != nil {
			return false, err
		}
	} else if err := f.line(r); err != nil {
		return false, err
	}
	return !f.finished.Sees(r), nil
}

func (f *follower) line(r *config.Trace) error {
	out := f.cmd.OutOrStdout()
	if f.seen == 1 {
		if _, err := fmt.Fprintf(out, "%s → %s → %s by %s\n", f.client, f.virtual, r.Server, r.Method); err != nil {
			return err
		}
	}
	after := r.Became
	if after == "" {
		after = r.Verdict
	}
	if s := explain.SentOn(r); s != "" {
		after += " on " + s
	}
	if verdict := strings.TrimPrefix(r.Verdict, "forward"); verdict != "" {
		after += "  " + verdict
	}
	_, err := fmt.Fprintf(out, "%+10.3f ms  %-7s  %s  %s\n%24s→ %s\n", r.Time.Sub(f.first.Time).Seconds()*1000, r.Side,
		r.Link, r.Packet, "", after)
	return err
}
