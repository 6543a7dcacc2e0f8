#!/bin/busybox sh
# The first process of the VM. It lays a file system in memory over this
# machine's files, runs the job's program on the two, and tells the console how
# it ended.
/bin/busybox --install -s /bin
export PATH=/bin

# A line that the console shows whatever its level, before anything else goes on.
say() { echo "<0>kernelvm: $*" >/dev/kmsg; }
fail() { say "$*"; poweroff -f; }

mount -t proc proc /proc
mount -t devtmpfs dev /dev
while read -r module; do insmod "/modules/$module" || fail "insmod $module"; done </modules/order

p9=trans=virtio,version=9p2000.L,msize=262144
mount -t 9p -o "$p9,cache=loose,ro" host /host || fail "no files of the host"
mount -t tmpfs -o size=80% new /new
root=/new/root
mkdir /new/up /new/work $root
mount -t overlay -o lowerdir=/host,upperdir=/new/up,workdir=/new/work overlay $root || fail "no overlay"

. /job # modules, dir, out, and the program as "$@"
mount -t proc proc $root/proc
mount -t sysfs sys $root/sys
mount -t devtmpfs dev $root/dev
mkdir -p $root/dev/pts $root/dev/shm $root/lib/modules
mount -t devpts devpts $root/dev/pts
mount -t tmpfs shm $root/dev/shm
mount -t tmpfs run $root/run
mkdir -p $root/run/netns $root/run/lock
ln -sf /proc/self/fd $root/dev/fd
mount --bind "/host$modules" $root/lib/modules || fail "no modules"
if [ -n "$out" ]; then
	mkdir -p $root/out
	mount -t 9p -o "$p9" out $root/out || fail "no place for output"
	out=/out
fi
hostname kernelvm
ip link set lo up

exec 3>/dev/ttyS0
stty -F /dev/ttyS0 -onlcr # a line ends with \n alone
chroot $root /usr/bin/env -i HOME=/root TERM=dumb LC_ALL=C TZ=UTC OUT="$out" \
	PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	/bin/sh -c 'cd "$0" && exec "$@"' "$dir" "$@" </dev/null >&3 2>&3
status=$?
exec 3>&- # waits until the port has sent it all
sync
say "exit status $status"
poweroff -f
