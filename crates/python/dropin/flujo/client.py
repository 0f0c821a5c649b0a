"""The client of Flujo, its models and its exceptions."""

from stepwell.compat._dropin import alone as _alone
from stepwell.compat.flujo.client import *  # noqa: F403 - all of them, by the names they have there

_alone("flujo")
