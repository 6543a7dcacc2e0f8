package control

import (
	"context"
	"net"

	"uvs/internal/peer"
)

type peerKey struct{}

// withPeer notes in a connection's context whether the peer may write.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	uid, err := peer.UID(c)
	return context.WithValue(ctx, peerKey{}, err == nil && peer.Trusted(uid))
}

func mayWrite(ctx context.Context) bool {
	may, _ := ctx.Value(peerKey{}).(bool)
	return may
}
