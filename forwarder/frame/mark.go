package frame

// OwnMark is the firewall mark (SO_MARK, socket(7)) of everything that the director
// sends. It distinguishes that from the host's own packets where the two meet, on the
// loopback interface and at the guard. Packets do not carry it off the host.
const OwnMark = 0x757673
