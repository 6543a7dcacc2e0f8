package control

import (
	"context"
	"net"
)

type peerKey struct{}

// withPeer stores in a connection's context whether the peer may write.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	g, ok := c.(*limitedConn)
	return context.WithValue(ctx, peerKey{}, ok && g.trusted)
}

func mayWrite(ctx context.Context) bool {
	may, _ := ctx.Value(peerKey{}).(bool)
	return may
}
