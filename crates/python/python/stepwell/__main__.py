"""The command line: `stepwell`, and `python -m stepwell`."""

import os
import signal
import sys

from stepwell import _native


def main() -> None:
    """Carry out the command that this process was started for, and end the process with its exit code."""
    _be_a_plain_process()
    # A glance, so that no other command pays for the second look.
    worker = _native.Worker.asked(sys.argv[1:]) if "worker" in sys.argv else None
    if worker is None:
        sys.exit(_native.main(sys.argv[1:]))
    from stepwell._worker import carry_out

    sys.exit(carry_out(worker))


def _be_a_plain_process() -> None:
    """Undo what the interpreter has arranged for itself and would keep from the command.

    Its handler of SIGINT waits for Python code to go on, which none does until the command has ended.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # A closed standard stream would become whichever file is opened first.
    for stream in range(3):
        try:
            os.fstat(stream)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    main()
