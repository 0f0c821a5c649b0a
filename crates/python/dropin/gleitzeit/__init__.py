"""Stepwell under the name of Gleitzeit: programs that were written for its API run unchanged."""

from stepwell.compat._dropin import alone as _alone
from stepwell.compat.gleitzeit import *  # noqa: F403 - all of them, by the names they have there

_alone("gleitzeit")
