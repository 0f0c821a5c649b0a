"""Stepwell under the name of Flujo: programs that were written for it run unchanged."""

from stepwell.compat._dropin import alone as _alone
from stepwell.compat.flujo import *  # noqa: F403 - all of them, by the names they have there

_alone("flujo")
