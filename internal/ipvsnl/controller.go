package ipvsnl

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// levels is the number of the highest attribute of a message, as the family says it.
const levels = attrTimeoutUDP

// Permissions and abilities of a command (linux/genetlink.h).
const (
	adminOnly = unix.GENL_ADMIN_PERM
	does      = unix.GENL_CMD_CAP_DO
	lists     = unix.GENL_CMD_CAP_DUMP
	checked   = unix.GENL_CMD_CAP_HASPOL
)

// abilities returns what a command can be asked for.
func abilities(cmd command) uint32 {
	switch cmd {
	case getServer, getDaemon:
		return adminOnly | lists | checked
	case getService:
		return adminOnly | does | lists | checked
	}
	return adminOnly | does | checked
}

// Seeks reports whether a message asks the controller of generic netlink for this family, by
// its name or its number.
func (f *Family) Seeks(m Message) bool {
	if m.Type() != unix.GENL_ID_CTRL || m.command() != unix.CTRL_CMD_GETFAMILY || m.dumps() {
		return false
	}
	a, err := parse(m.attrs(), policy{unix.CTRL_ATTR_FAMILY_ID: twoBytes, unix.CTRL_ATTR_FAMILY_NAME: textOf(15)})
	if err != nil {
		return false
	}
	if a.have(unix.CTRL_ATTR_FAMILY_NAME) { // the kernel looks at the name last
		return a.text(unix.CTRL_ATTR_FAMILY_NAME) == Name
	}
	return a.have(unix.CTRL_ATTR_FAMILY_ID) && a.u16(unix.CTRL_ATTR_FAMILY_ID) == f.ID
}

// Introduce answers a message that seeks the family. Without a director there is none, as in
// a kernel without the module (net/netlink/genetlink.c, ctrl_getfamily).
func (f *Family) Introduce(ctx context.Context, m Message) [][]byte {
	var out answers
	err := f.present(ctx)
	if err == nil {
		out.add(unix.GENL_ID_CTRL, 0, nil)
		out.bodies[0] = f.introduction()
	} else if errnoOf(err) != unix.EPERM {
		err = unix.ENOENT
	}
	return out.single(m, errno(err))
}

// restart is how long a director may be away that is being started again. Programs ask for
// the family once, when they begin, and give up without it.
const restart = 300 * time.Millisecond

// present returns nil if the director answers.
func (f *Family) present(ctx context.Context) error {
	for end := time.Now().Add(restart); ; {
		_, err := f.Director.About(ctx)
		if err == nil || errnoOf(err) == unix.EPERM || time.Now().After(end) || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(restart / 10):
		}
	}
}

// Lists reports whether a message asks the controller for all families.
func (f *Family) Lists(m Message) bool {
	return m.Type() == unix.GENL_ID_CTRL && m.command() == unix.CTRL_CMD_GETFAMILY && m.dumps()
}

// Entry returns the family's part of the list of all, which goes before the kernel's. Without a
// director it is nothing.
func (f *Family) Entry(ctx context.Context, m Message) [][]byte {
	if f.present(ctx) != nil {
		return nil
	}
	return [][]byte{appendMessage(nil, m, unix.GENL_ID_CTRL, unix.NLM_F_MULTI, f.introduction())}
}

// introduction is the body of the controller's message about the family
// (net/netlink/genetlink.c, ctrl_fill_info).
func (f *Family) introduction() []byte {
	const controllerVersion = 2
	var a, commands attrs
	a.text(unix.CTRL_ATTR_FAMILY_NAME, Name)
	a.u16(unix.CTRL_ATTR_FAMILY_ID, f.ID)
	a.u32(unix.CTRL_ATTR_VERSION, Version)
	a.u32(unix.CTRL_ATTR_HDRSIZE, 0)
	a.u32(unix.CTRL_ATTR_MAXATTR, levels)
	n := uint16(0)
	for cmd := newService; cmd <= lastCommand; cmd++ {
		if cmd == setInfo {
			continue
		}
		var one attrs
		one.u32(unix.CTRL_ATTR_OP_ID, uint32(cmd))
		one.u32(unix.CTRL_ATTR_OP_FLAGS, abilities(cmd))
		n++
		commands.put(n, one)
	}
	a.put(unix.CTRL_ATTR_OPS, commands)
	return append([]byte{unix.CTRL_CMD_NEWFAMILY, controllerVersion, 0, 0}, a...)
}
