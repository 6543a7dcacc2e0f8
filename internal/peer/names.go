package peer

import (
	"bufio"
	"fmt"
	"os"
	"strings"
)

// Names returns the abstract names with a prefix of sockets in this network namespace, each
// once. It reads the kernel's own list, so sockets that are closed are not in it.
func Names(prefix string) ([]string, error) {
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return nil, fmt.Errorf("list the unix sockets: %w", err)
	}
	defer f.Close()
	seen := map[string]bool{}
	var names []string
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		// The listener and every connection to it have the same address.
		i := strings.Index(sc.Text(), prefix)
		if i >= 0 && !seen[sc.Text()[i:]] {
			seen[sc.Text()[i:]] = true
			names = append(names, sc.Text()[i:])
		}
	}
	return names, sc.Err()
}
