"""The composition root: the only place that knows the configuration and all the parts."""

from aegis.daemon.run import run

__all__ = ["run"]
