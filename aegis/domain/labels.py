"""The labels every container, Docker volume and network of ours carries: by them the reconciler finds what is left.

`aegis.node_id` says which daemon made it: several may share one engine, and each clears up after itself only.
"""

from __future__ import annotations

MANAGED = "aegis.managed"
NODE_ID = "aegis.node_id"
EXECUTION_ID = "aegis.execution_id"
ITERATION = "aegis.iteration"
TENANT_ID = "aegis.tenant_id"
CONTAINER_KIND = "aegis.container_kind"  # agent or validator


def execution_labels(node_id: str, execution_id: str, iteration: int, tenant_id: str) -> dict[str, str]:
    return {
        MANAGED: "true",
        NODE_ID: node_id,
        EXECUTION_ID: execution_id,
        ITERATION: str(iteration),
        TENANT_ID: tenant_id,
    }
