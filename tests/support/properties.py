"""How hypothesis tries properties: it must not fail a test because the machine is slow."""

from hypothesis import HealthCheck, settings

no_deadline = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Goes above every `given`."""
