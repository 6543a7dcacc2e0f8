package shim

import "golang.org/x/sys/unix"

// auditArch is how a filter names this architecture (linux/audit.h).
const auditArch = unix.AUDIT_ARCH_X86_64

// openCalls are the system calls that open a file by its name.
var openCalls = []uint32{unix.SYS_OPENAT, unix.SYS_OPEN}
