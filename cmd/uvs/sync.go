package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
)

// syncSources reads the addresses and networks of --sync-from.
func syncSources(words []string) (all []netip.Prefix, err error) {
	for _, word := range words {
		if a, err := netip.ParseAddr(word); err == nil {
			all = append(all, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(word)
		if err != nil {
			return nil, fmt.Errorf("--sync-from %s: an address or a network, such as 10.0.0.2 or 10.0.0.0/24", word)
		}
		all = append(all, p.Masked())
	}
	return all, nil
}

// minSyncKey is the least length of a key in bytes.
const minSyncKey = 16

// readSyncKey reads the key of --sync-key, without white space around it.
func readSyncKey(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("--sync-key: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("--sync-key %s: anybody can read or change it: chmod o= %s", path, path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("--sync-key: %w", err)
	}
	if b = bytes.TrimSpace(b); len(b) < minSyncKey {
		return nil, fmt.Errorf("--sync-key %s: %d bytes are too few, it takes %d: head -c 32 /dev/urandom | base64 > %s", path, len(b), minSyncKey, path)
	}
	return b, nil
}
