package metrics

import "strings"

// sync adds what the daemons of connection synchronization count.
func (f *families) sync(all map[string]uint64) {
	messages := f.counter("uvs_sync_messages_total", "Datagrams of connection synchronization.")
	messages.count(all["sync-received"], dirIn)
	messages.count(all["sync-sent"], dirOut)
	entries := f.counter("uvs_sync_entries_total", "Connections and templates in these datagrams that were taken, and sent.")
	entries.count(all["sync-entries-taken"], dirIn)
	entries.count(all["sync-entries-sent"], dirOut)
	f.counter("uvs_sync_lost_total", "Entries that a master could not send, because a worker had no room for them.").count(all["sync-lost"])
	f.gauge("uvs_sync_queue_messages", "Datagrams that what a master has yet to send would fill.").count(all["sync-queue"], dirOut)
	f.gauge("uvs_sync_lag_seconds", "How long the first of that has waited at most; some 0.2 s are usual.").add(float64(all["sync-lag-us"])/1e6, dirOut)
	refused := f.counter("uvs_sync_refused_total", "Entries and datagrams that a backup did not take, by reason.")
	const prefix = "sync-refused-"
	for name, n := range all {
		if reason, ok := strings.CutPrefix(name, prefix); ok {
			refused.count(n, label("reason", reason))
		}
	}
}
