"""The backend of that name."""

from stepwell.compat._dropin import alone as _alone
from stepwell.compat.flujo.state.backends.postgres import *  # noqa: F403 - all of them, by the names they have there

_alone("flujo")
