"""Stepwell under the name of Fluffy Agent Flow: programs that were written for it run unchanged."""

from stepwell.compat._dropin import alone as _alone
from stepwell.compat.fluffy_agent import *  # noqa: F403 - all of them, by the names they have there

_alone("fluffy_agent")
