package lab

import (
	"bufio"
	"fmt"
	"os"
	"sort"
	"strings"
)

// List returns the labs of this user that were started in this network
// namespace, the oldest first. The kernel's own list of sockets is the
// directory: a lab that is gone is not in it.
func List() ([]*Info, error) {
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	defer f.Close()
	seen := map[string]bool{}
	var infos []*Info
	prefix := socketName("")
	for sc := bufio.NewScanner(f); sc.Scan(); {
		i := strings.Index(sc.Text(), prefix)
		if i < 0 || seen[sc.Text()[i:]] {
			continue
		}
		socket := sc.Text()[i:]
		seen[socket] = true
		// One that does not answer is being built or about to go, or
		// is another user's under our name.
		if in, err := info(socket); err == nil {
			infos = append(infos, in)
		}
	}
	sort.Slice(infos, func(i, j int) bool { return infos[i].Started.Before(infos[j].Started) })
	return infos, nil
}
