"""How property tests draw their examples, for the whole suite."""

import os

from hypothesis import HealthCheck, settings

# Two cores that others use, too: a slow example says nothing. The suite draws the same examples everywhere, so that it
# fails where something changed and nowhere else; HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile(
    "suite", deadline=None, derandomize=True, max_examples=60, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("explore", settings.get_profile("suite"), derandomize=False, max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))
