package lab

import (
	"fmt"
	"sort"
	"strings"

	"uvs/internal/peer"
)

// List returns the labs of this user that were started in this network namespace, the
// oldest first. It reads the kernel's own list of sockets, so a lab that has ended is
// not in it.
func List() ([]*Info, error) {
	names, err := sockets()
	if err != nil {
		return nil, err
	}
	var infos []*Info
	for _, socket := range names {
		if !strings.HasPrefix(socket, socketName("")) {
			continue
		}
		// One that does not answer is still being built, about to end, or
		// another user's with our name.
		if in, err := info(socket); err == nil {
			infos = append(infos, in)
		}
	}
	sort.Slice(infos, func(i, j int) bool { return infos[i].Started.Before(infos[j].Started) })
	return infos, nil
}

// sockets returns the addresses of all labs, of any user.
func sockets() ([]string, error) {
	names, err := peer.Names("@uvs-lab/")
	if err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	return names, nil
}

// others mentions a lab that belongs to another user, who may be oneself under sudo.
func others() string {
	names, err := sockets()
	if err != nil || len(names) == 0 {
		return ""
	}
	uid, _, _ := strings.Cut(strings.TrimPrefix(names[0], "@uvs-lab/"), "/")
	return " (there is one of user " + uid + "'s)"
}
