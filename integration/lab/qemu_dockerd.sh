#!/bin/sh
# dockerd as the lab runs it; start it again after killing it, to see what a restart of Docker does.
# iptables, but no address translation: networks are isolated and `internal` ones are, and a server outside the guest still
# sees which container it is that connects, as it would on the engine's own host.
# crun starts a container two seconds sooner than runc does in an emulated guest.
exec dockerd \
    -H unix:///run/docker.sock -H "tcp://$LAB_ADDRESS:2375" --tls=false --pidfile /run/docker.pid \
    --storage-driver=overlay2 --iptables=true --ip6tables=false --ip-masq=false \
    --bip=172.31.0.1/24 --default-address-pool base=172.31.128.0/17,size=24 \
    --add-runtime crun=/usr/bin/crun --default-runtime=crun >>/run/dockerd.log 2>&1
