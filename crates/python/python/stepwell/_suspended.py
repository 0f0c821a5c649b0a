"""What unwinds a function that waits."""


class Suspended(BaseException):
    """The function waits and is let go; it runs again when what it waits for has come.

    Not an `Exception`, so that `except Exception` round the work of a step does not catch it.
    """
