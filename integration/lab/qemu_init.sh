#!/bin/busybox sh
# PID 1 of the Docker guest, a QEMU machine with a disk of its own. The kernel hands us LAB_ADDRESS, LAB_GATEWAY and
# LAB_PORT as environment. What it sets up is what the saved state keeps: network, dockerd, the lab's agent.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm /dev/mqueue
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t mqueue mqueue /dev/mqueue
for d in /dev/shm /run /tmp; do mount -t tmpfs -o mode=1777 tmpfs $d; done
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo /usr/bin/modprobe >/proc/sys/kernel/modprobe
for m in nfsv3 overlay veth bridge br_netfilter; do modprobe $m || echo "modprobe $m failed"; done
hostname lab
device=$(ls /sys/class/net | grep -E '^(eth|en)' | head -1)
ip link set lo up
ip addr add "$LAB_ADDRESS/16" dev "$device"
ip link set "$device" up
ip route add default via "$LAB_GATEWAY"
echo 1 >/proc/sys/net/ipv4/ip_forward
/opt/lab/dockerd &
cd /
# This shell stays PID 1, and its wait collects orphans. When the agent ends, so does the guest.
/usr/bin/python3 -I -S /opt/lab/agent.py 0.0.0.0 "$LAB_PORT"
poweroff -f
