package kernelvm

import (
	"bytes"
	"fmt"
)

// The modes of files in an archive (man 7 inode).
const (
	directory  = 0o40755
	executable = 0o100755
	plain      = 0o100644
)

// archive is a cpio archive in the format that the kernel unpacks (Linux,
// Documentation/driver-api/early-userspace/buffer-format.rst).
type archive struct {
	b     bytes.Buffer
	inode int
}

// add appends a file. Header and name together, and the content, are padded to a
// multiple of four bytes.
func (a *archive) add(name string, mode int, content []byte) {
	a.inode++
	fmt.Fprintf(&a.b, "070701%08x%08x", a.inode, mode)
	// uid, gid, links, mtime, size, four device numbers, length of the name, checksum
	for _, v := range []int{0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0} {
		fmt.Fprintf(&a.b, "%08x", v)
	}
	a.b.WriteString(name + "\x00")
	a.pad()
	a.b.Write(content)
	a.pad()
}

func (a *archive) pad() {
	for a.b.Len()%4 != 0 {
		a.b.WriteByte(0)
	}
}

// end closes the archive and returns it.
func (a *archive) end() []byte {
	a.inode = -1
	a.add("TRAILER!!!", 0, nil)
	return a.b.Bytes()
}
