package service

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"uvs/sched"
)

// Who adds a field has to decide what it is in a copy for a dry run: copied, shared, or
// empty because nothing of a packet's way reads it.
func TestACopyKnowsEachField(t *testing.T) {
	for _, c := range []struct {
		of    reflect.Type
		known string
	}{
		{reflect.TypeFor[Server](), "RealServer Key Counters options service refs replyConns WasMasq RepliesGuarded FTPData held Path Silence " +
			"Seq Policy NeedsPolicy drainEnd drainStart locals lastService removedIn dirty idle probe probes Refusals told modes"},
		{reflect.TypeFor[Service](), "Service Probing Sched Counters Offer Mask Servers ref seq draft"},
		{reflect.TypeFor[Snapshot](), "shard count ftp any marks ServersBegin version"},
		{reflect.TypeFor[sched.RealServer](), "ID Addr weight lastWeight upper lower active inactive persistent overloaded edits"},
	} {
		for i := range c.of.NumField() {
			if name := c.of.Field(i).Name; !slices.Contains(strings.Fields(c.known), name) {
				t.Errorf("does a copy of a %s need %s? Then copy it; name it here in any case", c.of.Name(), name)
			}
		}
	}
}
