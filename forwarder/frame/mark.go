package frame

// OwnMark is the firewall mark (SO_MARK, socket(7)) of all the director sends:
// what tells it from the host's own packets where the two meet, on the loopback
// interface and at the guard. It leaves the host with no packet.
const OwnMark = 0x757673
