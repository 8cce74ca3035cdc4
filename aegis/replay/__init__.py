"""Replay: what an execution decided, decided again from what was recorded of it; no engine, no network, no model.

The inner loop that runs is the real one, with its tools' policy, on ports that answer from the record; verdicts,
feedback and ends are made by the same functions as in the daemon. What came from outside is taken from the record: the
models' and judges' words, results of tools and commands, what validators that are programs found, and the time.
"""

from __future__ import annotations

from aegis.replay.ledger import Difference
from aegis.replay.record import Record, read_record
from aegis.replay.run import Report, replay

__all__ = ["Difference", "Record", "Report", "read_record", "replay"]
