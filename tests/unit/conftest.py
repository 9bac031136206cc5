"""What holds for all tests."""

from __future__ import annotations

from hypothesis import settings

# machines that run tests are shared and busy: how long an example took says nothing
settings.register_profile("farmlet", deadline=None)
settings.load_profile("farmlet")
