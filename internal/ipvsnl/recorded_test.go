package ipvsnl

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"uvs/forwarder/client"
	"uvs/forwarder/config"
	"uvs/internal/control"
	"uvs/internal/control/controltest"
)

// differ names the talks in which this family answers otherwise than the kernel, with the
// reason.
var differ = map[string]string{
	"mark 0":                              "a director's services have an address or a mark",
	"persistent without a time":           "persistence without a time is none",
	"a time without persistence":          "a time without persistence is not kept",
	"a time too long":                     "31 days is the most, as in ipvsadm",
	"timeouts too long":                   "31 days is the most, as in ipvsadm",
	"flags there are not":                 "flags without a meaning are not kept",
	"the scheduler none":                  "every service has a scheduler",
	"one packet for tcp":                  "it means nothing for TCP",
	"all flags":                           "one packet means nothing for TCP",
	"port 0":                              "it needs persistence, as in ipvsadm",
	"an unknown protocol":                 "a service that no packet can reach",
	"tunnels of no kind":                  "there is no such encapsulation",
	"the numbers of other methods":        "nobody can send packets that way",
	"a server that is no unicast address": "here every address is",
	"a master on an IPv6 group":           "the recording host had no route to the group",
	"a daemon of a large number":          "the number has eight bits on the wire",
}

func TestTheFamilyAnswersAsTheKernel(t *testing.T) {
	for _, r := range recordings(t) {
		t.Run(r.Name, func(t *testing.T) {
			if reason, ok := differ[r.Name]; ok {
				t.Skip(reason)
			}
			family := &Family{Director: startDirector(t)}
			for i, s := range r.Steps {
				ask, err := hex.DecodeString(s.Ask)
				if err != nil {
					t.Fatal(err)
				}
				var got []string
				for _, datagram := range family.Answer(context.Background(), ask) {
					got = append(got, hex.EncodeToString(datagram))
				}
				if diff := cmp.Diff(legible(s.Answers), legible(got)); diff != "" {
					t.Errorf("message %d, command %d (-kernel +ours):\n%s", i, ask[16], diff)
				}
			}
		})
	}
}

// legible splits datagrams into messages and messages into words, for a difference that can be read.
func legible(datagrams []string) (lines []string) {
	for i, text := range datagrams {
		b, err := hex.DecodeString(text)
		if err != nil {
			panic(err)
		}
		for m, rest := Next(b); m != nil; m, rest = Next(rest) {
			lines = append(lines, fmt.Sprintf("datagram %d: type %d, flags %#x, to %x", i, m.Type(), m.flags(), []byte(m[8:16])))
			if m.Type() == unix.NLMSG_ERROR {
				lines = append(lines, unix.Errno(-int32(native.Uint32(m[16:]))).Error())
			}
			for word := m[16:]; len(word) > 0; word = word[min(4, len(word)):] {
				lines = append(lines, strings.TrimSpace(fmt.Sprintf("%x", []byte(word[:min(4, len(word))]))))
			}
		}
	}
	return lines
}

// startDirector returns a client of an empty director in a host like the VM's.
func startDirector(t testing.TB) *client.Client {
	t.Helper()
	d := controltest.New()
	d.Unicast = func(a netip.Addr) bool { return true }
	d.MTU = func(name string) (int, error) {
		if name != "lo" {
			return 0, errors.New("no such interface")
		}
		return 65536, nil
	}
	socket := filepath.Join(t.TempDir(), "uvs")
	l, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	server := control.NewServer(d, config.About{Program: "uvs"}, slog.New(slog.DiscardHandler))
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return client.New(socket)
}
