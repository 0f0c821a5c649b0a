"""The errors of Gleitzeit."""

from stepwell.compat._dropin import alone as _alone
from stepwell.compat.gleitzeit.core.errors import *  # noqa: F403 - all of them, by the names they have there

_alone("gleitzeit")
