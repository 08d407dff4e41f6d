"""Makes `tiny` importable from every test folder (pytest puts a conftest's folder on the path)."""

from __future__ import annotations

from hypothesis import settings

# Examples are counted, not timed: a busy machine must not fail a property.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
