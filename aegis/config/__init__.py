"""The node's configuration. Only `aegis.daemon` and the CLI's offline commands import it."""

from aegis.config.load import LoadedConfig, load_config
from aegis.config.model import NodeConfig

__all__ = ["LoadedConfig", "NodeConfig", "load_config"]
