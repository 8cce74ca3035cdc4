"""The systemd unit, as text: what `aegis daemon install` writes and what `deploy/aegis.service` holds (a test keeps
them equal).

Each line that is not plain says why beside it, in the unit itself: that is where an operator reads it.
"""

from __future__ import annotations

TEMPLATE = """\
# {path}
# Written by `aegis daemon install`. Change it with `systemctl edit aegis`, which survives an update.
[Unit]
Description=AEGIS Orchestrator Daemon
Documentation=https://github.com/100monkeys-ai/aegis
# Wants and not Requires: a restart of Docker must not stop the daemon. After orders the shutdown too: the daemon stops
# before Docker does, so the containers' mounts are gone before the NFS gateway behind them is.
Wants=network-online.target docker.service
After=network-online.target docker.service

[Service]
# READY=1 comes when the API, the gateway and the database are there; until then `systemctl start` waits.
Type=notify
NotifyAccess=main
User={user}
Group={group}
WorkingDirectory={working_directory}
# The leading - lets it start without the file.
EnvironmentFile=-{environment_file}
ExecStart={executable} daemon --config {config}
Restart=on-failure
RestartSec=10s
# The daemon reports every third of this; a blocked event loop is a daemon that serves no files: restart it.
WatchdogSec=60s
# A first start may wait for a database and pull nothing, but must reconcile what a crash left.
TimeoutStartSec=120s
# Running iterations get time to end and their containers are removed before the gateway closes.
TimeoutStopSec=90s
# TERM to the daemon alone; what it started (MCP servers, scripts) it stops itself, and the rest is killed at the end.
KillMode=mixed
LimitNOFILE=65535
# /var/lib/aegis (and $STATE_DIRECTORY): the database, keys, the API token and, unless configured otherwise, the
# volumes.
StateDirectory=aegis
StateDirectoryMode=0700

# Hardening. The daemon drives Docker through its socket, serves files below its state directory and speaks TCP.
# Nothing it needs is taken away; what a break-in could use is. (The docker group is root on this host by itself:
# these lines raise the price, they are no wall.)
# No setuid program can be of use: it never starts one.
NoNewPrivileges=yes
# /usr, /boot and /etc become read-only; not `strict`, because storage.root may be anywhere the operator says.
ProtectSystem=full
# Reads ~/.aegis and the like only if they are its own.
ProtectHome=read-only
# No shared /tmp: nothing is exchanged there.
PrivateTmp=yes
# No kernel tunables, modules, logs, control groups or clock: dockerd changes those, not us.
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
# Unix for Docker, systemd and PostgreSQL; IPv4 and IPv6; netlink, to know which addresses are the host's own.
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
# No new namespaces: dockerd makes the containers'.
RestrictNamespaces=yes
RestrictRealtime=yes
# The agents' setuid bits are kept beside the files, never on them.
RestrictSUIDSGID=yes
LockPersonality=yes
# The capability set is empty: port 2049 is above 1023, and volumes' owners are squashed in the server.
CapabilityBoundingSet=
AmbientCapabilities=
SystemCallArchitectures=native
SystemCallFilter=@system-service
# Not set, because they break it: PrivateDevices (drops /dev/kvm only, and hides the log socket of some hosts),
# PrivateNetwork and IPAddressDeny (it is a server), MemoryDenyWriteExecute (libffi's closures need such memory),
# ProtectProc (the health checks read /proc/filesystems and /proc/net).

[Install]
WantedBy=multi-user.target
"""

DEFAULTS = {
    "path": "/etc/systemd/system/aegis.service",
    "user": "aegis",
    "group": "docker",
    "working_directory": "/opt/aegis",
    "environment_file": "/etc/aegis/env",
    "executable": "/usr/local/bin/aegis",
    "config": "/etc/aegis/config.yaml",
}


def unit_text(**changes: str) -> str:
    """The unit, with `changes` to DEFAULTS."""
    return TEMPLATE.format(**{**DEFAULTS, **changes})
