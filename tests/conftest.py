"""What holds for every test of the project."""

import signal

from hypothesis import settings

# No timing is asserted: a slow moment of a shared machine is not a finding.
settings.register_profile("aegis", deadline=None)
settings.load_profile("aegis")

# A shell without job control starts what it puts into the background with SIGINT ignored, and every program started
# from there inherits that: the command line's own handling of an interrupt could not be tested.
signal.signal(signal.SIGINT, signal.default_int_handler)
