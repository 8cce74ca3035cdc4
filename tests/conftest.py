"""What holds for every test of the project."""

from hypothesis import settings

# No timing is asserted: a slow moment of a shared machine is not a finding.
settings.register_profile("aegis", deadline=None)
settings.load_profile("aegis")
