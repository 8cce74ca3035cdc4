"""The daemon's configuration in the lab's topology "beside": the daemon on 172.17.0.1, the engine in a guest."""

from __future__ import annotations

from typing import Any

from integration.lab import DockerEngine

API_PORT = 8080
NFS_PORT = 2049
PROXY_PORT = 3128
ENGINE_ADDRESS = "172.17.0.3"


def node_config(engine: DockerEngine) -> dict[str, Any]:
    """What the lab's addresses make necessary; everything else is the product's default.

    The engine's host is another machine here, so its address is allowed by name; containers are told where we are,
    since we are not at their network's gateway, and that network is no internal one, which would end at the engine.
    """
    return {
        "storage": {
            "nfs_listen_addr": f"{engine.gateway}:{NFS_PORT}",
            "nfs_allowed_clients": [ENGINE_ADDRESS],
        },
        "runtime": {
            "docker_url": engine.daemon_docker_host,
            "nfs_server_host": engine.gateway,
            "orchestrator_url": f"http://{engine.gateway}:{API_PORT}",
            "network_internal": False,
            "image_pull_policy": "Never",
        },
        "egress": {"listen": f"{engine.gateway}:{PROXY_PORT}"},
        "api": {"listen": [f"{engine.gateway}:{API_PORT}"], "listen_on_bridge": False},
    }
