"""Further attempts of a step that failed."""

from __future__ import annotations

from dataclasses import dataclass

from stepwell import _checks


@dataclass(frozen=True)
class RetryPolicy:
    """Further attempts of a step that failed. Times are seconds.

    Before retry 1, 2, … there are `initial_delay * exponential_base ** (retry - 1)` seconds, at most `max_delay`; with
    `jitter` between half and one and a half times of that. Exceptions of the types in `non_retryable`, or of types of
    such a name, are not tried again, nor are those derived from them.

    >>> RetryPolicy(max_retries=5, initial_delay=0.2, non_retryable=(KeyError, "BadKey"))
    RetryPolicy(max_retries=5, initial_delay=0.2, exponential_base=2.0, jitter=True, max_delay=60.0, \
non_retryable=(<class 'KeyError'>, 'BadKey'))
    """

    max_retries: int = 3
    initial_delay: float = 1.0
    exponential_base: float = 2.0
    jitter: bool = True
    max_delay: float = 60.0
    non_retryable: tuple[type[BaseException] | str, ...] = ()

    def __post_init__(self) -> None:
        """Check what is given."""
        checked = {
            "max_retries": _checks.count("max_retries", self.max_retries),
            "initial_delay": _checks.seconds("initial_delay", self.initial_delay, zero=True),
            "exponential_base": _checks.number("exponential_base", self.exponential_base, least=1.0),
            "jitter": _checks.truth("jitter", self.jitter),
            "max_delay": _checks.seconds("max_delay", self.max_delay, zero=True),
            "non_retryable": _types(self.non_retryable),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)


def _types(given: object) -> tuple[type[BaseException] | str, ...]:
    remedy = "a tuple of exception types or their names, such as (KeyError, 'BadKey')"
    if isinstance(given, str) or not isinstance(given, tuple | list | set | frozenset):
        raise TypeError(f"non_retryable must be {remedy}, not {_checks.shown(given)}")
    for one in given:
        is_type = isinstance(one, type) and issubclass(one, BaseException)
        if not is_type and not (isinstance(one, str) and one):
            raise TypeError(f"non_retryable must be {remedy}; {_checks.shown(one)} is neither")
    return tuple(given)
