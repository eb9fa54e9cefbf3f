"""How hard the property tests try: few fixed examples in the suite, many with ``pytest --hypothesis-profile=deep``."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

_FIXED = settings(
    derandomize=True,  # the same examples everywhere, so that a failure is one of the code
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
settings.register_profile("suite", _FIXED, max_examples=30)
settings.register_profile("deep", _FIXED, max_examples=5000)
settings.load_profile("suite")
