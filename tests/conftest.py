# SPDX-License-Identifier: MIT
"""What holds for all tests."""

from hypothesis import settings

# A loaded machine is no bug: how long one example takes is not judged.
settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")
