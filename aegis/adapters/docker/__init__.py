"""The Docker Engine as `aegis.ports.ContainerRuntime`, on aiodocker."""

from aegis.adapters.docker.engine import DockerEngine
from aegis.adapters.docker.references import RegistryCredentials

__all__ = ["DockerEngine", "RegistryCredentials"]
