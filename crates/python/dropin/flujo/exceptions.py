"""The exceptions of Flujo."""

from stepwell.compat._dropin import alone as _alone
from stepwell.compat.flujo.exceptions import *  # noqa: F403 - all of them, by the names they have there

_alone("flujo")
