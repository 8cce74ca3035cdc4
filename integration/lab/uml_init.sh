#!/usr/bin/busybox sh
# PID 1 of a User Mode Linux guest whose root is this machine's own, read-only, through hostfs.
# The kernel hands us its unknown arguments as environment: LAB_ADDRESS, LAB_GATEWAY, LAB_EXCHANGE (a host path), LAB_PORT.
# No kmod and no /lib/modules is needed: insmod by path, in dependency order (netfs before fscache).
b=/usr/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
for d in /mnt /tmp /run; do $b mount -t tmpfs -o mode=1777 tmpfs $d; done
$b mkdir -p /dev/pts /dev/shm /mnt/exchange
$b mount -t devpts devpts /dev/pts
$b mount -t tmpfs tmpfs /dev/shm
[ -e /dev/fd ] || $b ln -s /proc/self/fd /dev/fd
# hostfs takes its path on the host, so a project below /tmp or /mnt is still reachable after these were covered.
$b mount -t hostfs -o "$LAB_EXCHANGE" none /mnt/exchange
echo /usr/bin/busybox >/proc/sys/kernel/modprobe
modules=/usr/lib/uml/modules/$($b uname -r)/kernel
for m in net/sunrpc/sunrpc fs/nfs_common/grace fs/lockd/lockd fs/netfs/netfs fs/fscache/fscache fs/nfs_common/nfs_acl \
    fs/nfs/nfs fs/nfs/nfsv3; do
    $b insmod "$modules/$m.ko"
done
$b ip link set lo up
$b ip addr add "$LAB_ADDRESS/16" dev vec0
$b ip link set vec0 up
$b ip route add default via "$LAB_GATEWAY"
cd /
# This shell stays PID 1, and its wait collects orphans. When the agent ends, so does the guest.
/usr/bin/python3 -I -S /mnt/exchange/agent.py 0.0.0.0 "$LAB_PORT"
$b poweroff -f
