package shim

import "golang.org/x/sys/unix"

// auditArch is how a filter names this architecture (linux/audit.h).
const auditArch = unix.AUDIT_ARCH_AARCH64
