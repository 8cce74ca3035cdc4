"""What agents may reach of the world: the decision, its record, and the bounds; sockets are the adapters' business."""

from aegis.services.egress.gate import EgressGate, EgressSettings
from aegis.services.egress.session import EgressSession, Route

__all__ = ["EgressGate", "EgressSession", "EgressSettings", "Route"]
