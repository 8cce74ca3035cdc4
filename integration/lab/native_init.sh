#!/bin/sh
# A native kernel client, already in a network and mount namespace of its own; this process becomes the agent.
# Arguments: DEVICE ADDRESS GATEWAY EXCHANGE PORT. The device is moved in from outside once we say that we exist.
device=$1 address=$2 gateway=$3 exchange=$4 port=$5
echo "lab native: waiting for $device"
tries=0
until ip link set "$device" up 2>/dev/null; do
    tries=$((tries + 1))
    [ "$tries" -lt 200 ] || { echo "$device was not moved here"; exit 1; }
    sleep 0.02
done
ip link set lo up
ip addr add "$address/16" dev "$device"
ip route add default via "$gateway"
mount -t tmpfs tmpfs /mnt && mkdir /mnt/exchange && mount --bind "$exchange" /mnt/exchange
exec python3 -I -S /mnt/exchange/agent.py 0.0.0.0 "$port"
