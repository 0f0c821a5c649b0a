"""The warm parent of python/v1: forks one child for every task and reports how each ended.

The engine starts this file once per parent, sends its text over the control socket (descriptor 0),
and from then on two messages with it, both fixed in size (`wire.rs` is the other side):

    engine -> parent   S id + three descriptors (channel, stdout, stderr): start a task
                       (a fourth where tasks run within walls: the landlock ruleset of this one)
                       K id                                               : kill a task
    parent -> engine   R                                                  : ready
                       E id code    : ended and swept; code >= 0 exit code, < 0 minus the signal
                       X id errno   : could not fork

What a task is (code, args, limits) never passes through the parent: the child reads it from its own
channel and answers there. So the parent neither parses nor waits for anything a task can delay.

The parent has one thread and imports before the first fork what every task needs and no more, since
all that it holds is copied. (`threading` alone, by what it does after every fork, costs a task as
much as the fork itself.)

The parent owns every descendant: a child is the reaper of its own descendants, and when it ends they
become children of the parent, which kills whatever it did not fork itself. When the control socket
closes, because the engine ended or was killed, the parent kills all tasks and goes.

The parent can be killed, by a script of the same user or by a machine without memory. So the process
that the engine starts is not the parent but its guard: it does nothing but wait, inherits what a dead
parent leaves behind and kills that, and goes when nothing is left. Should the guard be killed, the
parent is told and does the same. Where somebody kills both at once, the tasks die with the parent, and
the engine kills what else bears their mark (`mark.rs`).
"""

import builtins
import errno
import gc
import json
import linecache
import math
import os
import resource
import select
import signal
import socket
import struct
import sys
import time
import traceback
import types

CONTROL = 3  # in the guard and the parent
CHANNEL = 3  # in a child: the same number, so that taking the one closes the other
SWEEP_SECONDS = 0.5
MAX_DEPTH = 100
MAX_TEXT = 256 * 1024
MEMORY_RESERVE = 64 * 1024 * 1024

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
SYS_LANDLOCK_RESTRICT_SELF = 446  # on every processor

try:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    prctl = libc.prctl
    prctl.argtypes = (ctypes.c_int, ctypes.c_ulong)
except (ImportError, OSError, AttributeError):
    libc = None

    def prctl(_option, _value):
        """Stands in where the interpreter was built without ctypes: the group kill remains."""
        return -1


# ---------------------------------------------------------------------------- the guard


def guard(parent):
    """Waits for the end of the parent, kills all that it leaves behind, and ends as it did."""
    os.close(CONTROL)
    # The engine has no patience any more. A parent that hangs does not end by itself.
    signal.signal(signal.SIGTERM, lambda _signal, _frame: os.kill(parent, signal.SIGKILL))
    while True:
        # The zombie stays until no signal can be sent to it: so long its number cannot be reused.
        change = os.waitid(os.P_PID, parent, os.WEXITED | os.WSTOPPED | os.WNOWAIT)
        if change.si_code != os.CLD_STOPPED:
            break
        # While it stands still, no task of anybody begins or ends.
        os.kill(parent, signal.SIGCONT)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _pid, status = os.waitpid(parent, 0)
    sweep(lambda: children_by_scan(os.getpid()), {}, math.inf)
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


def leave_guard(guard_pid):
    """Makes the forked copy the parent; what is sent to the guard's group does not reach it."""
    os.setpgid(0, 0)
    prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != guard_pid:
        os._exit(1)


# ---------------------------------------------------------------------------- the parent


class Parent:
    """Forks tasks, reaps them, and leaves nothing of them behind."""

    def __init__(self, per_task):
        self.pid = os.getpid()
        self.per_task = per_task  # descriptors
        self.should_end = False
        self.tasks = {}  # pid -> task id
        self.signalled = {}  # pid -> when; what earlier sweeps could not end
        self.control = socket.socket(fileno=CONTROL)
        self.wake_read, wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(wake_write, False)
        signal.signal(signal.SIGCHLD, lambda _signal, _frame: None)
        signal.signal(signal.SIGTERM, self.note_end)
        signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
        self.own = [self.wake_read, wake_write]
        try:
            self.children = os.open(f"/proc/self/task/{self.pid}/children", os.O_RDONLY)
            self.own.append(self.children)
        except OSError:
            self.children = None
        prctl(PR_SET_CHILD_SUBREAPER, 1)

    def note_end(self, _signal, _frame):
        """Takes note that the guard died, or that somebody wants the parent to end."""
        self.should_end = True

    def serve(self):
        """Works until the control socket closes; returns the descriptors of a task in its child."""
        poll = select.poll()
        poll.register(self.control, select.POLLIN)
        poll.register(self.wake_read, select.POLLIN)
        self.control.send(b"R")
        while True:
            for descriptor, _event in poll.poll():
                if self.should_end:
                    self.leave()
                if descriptor == self.wake_read:
                    self.reap()
                    continue
                message, descriptors, _flags, _address = socket.recv_fds(self.control, 64, self.per_task)
                if not message:
                    self.leave()
                operation, task = struct.unpack("<cQ", message)
                if operation == b"K":
                    self.kill(task)
                elif self.fork(task, descriptors):
                    return descriptors

    def fork(self, task, descriptors):
        """Forks the child of a task; true in the child."""
        try:
            if len(descriptors) != self.per_task:
                raise OSError(errno.EMFILE, "no room for all descriptors of a task")
            pid = os.fork()
        except OSError as error:
            self.control.send(struct.pack("<cQi", b"X", task, error.errno or 0))
        else:
            if pid == 0:
                return True
            self.tasks[pid] = task
        for descriptor in descriptors:
            os.close(descriptor)
        return False

    def kill(self, task):
        """Kills a task that may have ended meanwhile; reaping it does the rest."""
        for pid, running in self.tasks.items():
            if running == task:
                kill_group(pid)

    def reap(self):
        """Reports every child that has ended, after its descendants are gone."""
        try:
            os.read(self.wake_read, 4096)
        except BlockingIOError:
            pass
        while True:
            try:
                # The zombie stays until its group is killed: so long its number cannot be reused.
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            pid = ended.si_pid
            if pid in self.tasks:
                kill_group(pid)
            _pid, status = os.waitpid(pid, 0)
            task = self.tasks.pop(pid, None)
            if task is None:
                continue
            self.sweep()
            code = os.waitstatus_to_exitcode(status)
            self.control.send(struct.pack("<cQi", b"E", task, code))

    def sweep(self):
        """Kills the descendants that an ended task left behind, also those in sessions of their own."""
        sweep(self.adopted, self.signalled, SWEEP_SECONDS)

    def adopted(self):
        """Children that this process did not fork: what is left of ended tasks."""
        if self.children is None:
            return [pid for pid in children_by_scan(self.pid) if pid not in self.tasks]
        listed = os.pread(self.children, 1 << 20, 0)
        return [pid for pid in map(int, listed.split()) if pid not in self.tasks]

    def leave(self):
        """Ends all tasks and all their descendants, then this process."""
        for pid in self.tasks:
            kill_group(pid)
        self.tasks = {}
        self.sweep()
        os._exit(0)


def sweep(list_orphans, signalled, patience):
    """Kills orphans until there are none, or only such as outlive SIGKILL.

    A script may have started what this user is not allowed to kill. That is waited for once, not after
    every task.
    """
    begun = None
    while True:
        orphans = list_orphans()
        now = time.monotonic()
        for pid in signalled.keys() - set(orphans):
            del signalled[pid]
        for pid in orphans:
            signalled.setdefault(pid, now)
            kill_group(pid)
            try:
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                pass
        if all(now - signalled[pid] > SWEEP_SECONDS for pid in orphans):
            return
        begun = begun or now
        if now - begun > patience:
            return  # they come faster than they are killed; the next sweep looks again
        time.sleep(0.001)


def kill_group(pid):
    """Kills a process that is a child of ours, and the process group it leads."""
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            pass


def children_by_scan(parent):
    """The children of a process on a kernel that does not list them."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            found.append(int(name))
    return found


# ---------------------------------------------------------------------------- the child


def leave_parent(parent, descriptors):
    """Makes the forked copy a process of its own that holds nothing of the parent; its ruleset, if it has one."""
    os.setsid()
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    if os.getppid() != parent.pid:
        os._exit(1)
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    channel, stdout, stderr, *ruleset = descriptors
    parent.control.detach()
    os.dup2(channel, CHANNEL, inheritable=False)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    for descriptor in (channel, stdout, stderr, *parent.own):
        os.close(descriptor)
    return ruleset[0] if ruleset else None


def enter_walls(ruleset):
    """Lets this process, and all that it will start, write only where the ruleset allows it."""
    if libc.syscall(SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"cannot enter the sandbox: {os.strerror(number)}")
    os.close(ruleset)


def read_request():
    """The task: a length of eight bytes, then that many bytes of JSON."""
    data = bytearray()
    wanted = None
    while wanted is None or len(data) < wanted:
        piece = os.read(CHANNEL, 1 << 20 if wanted else 1 << 16)
        if not piece:
            os._exit(1)
        data += piece
        if wanted is None and len(data) >= 8:
            wanted = 8 + struct.unpack_from("<Q", data)[0]
    return json.loads(memoryview(data)[8:].tobytes())


def limit_resources(request):
    """Sets the limits; the memory limit keeps a reserve for saying that it was reached."""
    memory, seconds = request["memory_bytes"], request["cpu_seconds"]
    for kind, soft, hard in (
        (resource.RLIMIT_CORE, 0, 0),
        (resource.RLIMIT_AS, memory, memory + MEMORY_RESERVE),
        (resource.RLIMIT_CPU, seconds, seconds + 1),
    ):
        _soft, highest = resource.getrlimit(kind)
        if highest != resource.RLIM_INFINITY:
            soft, hard = min(soft, highest), min(hard, highest)
        resource.setrlimit(kind, (soft, hard))


def run_task(ruleset):
    """Carries out one task and ends the process."""
    request = read_request()
    own_pid = os.getpid()
    channel = os.fstat(CHANNEL)
    channel_id = (channel.st_dev, channel.st_ino)
    stdout, stderr = sys.stdout, sys.stderr

    os.write(CHANNEL, struct.pack("<cI", b"B", own_pid))
    begun = time.perf_counter()
    kind, payload = b"R", b"null"
    try:
        if ruleset is not None:
            enter_walls(ruleset)
        namespace = prepare_main(request)
        limit_resources(request)
    except Exception as error:
        kind, payload = b"F", failure_text({"kind": "setup", "message": str(error)})
    else:
        # The collector was off in the parent; what it built is frozen and never looked at again.
        gc.enable()
        failure = run_script(request, namespace)
        if os.getpid() != own_pid:
            os._exit(0 if failure is None else 1)  # a fork of the script that ran to its end
        if failure is None:
            failure, payload = encode_result(namespace.get("result"), request["result_limit"])
        if failure is not None:
            kind, payload = b"F", failure_text(failure)
        run_quietly(sys.modules["atexit"]._run_exitfuncs if "atexit" in sys.modules else None)
    seconds = time.perf_counter() - begun
    for stream in (sys.stdout, sys.stderr, stdout, stderr):
        run_quietly(getattr(stream, "flush", None))
    answer(channel_id, struct.pack("<cdQ", kind, seconds, len(payload)), payload)
    os._exit(0)


def prepare_main(request):
    """A fresh `__main__` with the task's globals, in its directory."""
    os.chdir(request["directory"].encode("latin-1"))
    if request["temporary"] is not None:
        os.environ["TMPDIR"] = os.fsdecode(request["temporary"].encode("latin-1"))
    module = types.ModuleType("__main__")
    module.__builtins__ = builtins
    sys.modules["__main__"] = module
    namespace = module.__dict__
    if request["file"] is None:
        sys.argv = ["-c"]
    else:
        path = os.fsdecode(request["file"].encode("latin-1"))
        namespace["__file__"] = path
        sys.argv = [path]
        sys.path.insert(0, os.path.dirname(path))
    namespace["args"] = namespace["context"] = request["args"]
    for name, value in request["bindings"]:
        namespace[name] = value
    return namespace


def run_script(request, namespace):
    """Runs the script to its end, its threads included; the failure, or nothing."""
    if request["file"] is None:
        name, source = "<code>", request["source"]
        # With its lines known, a traceback shows them as for a file.
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    else:
        name, source = namespace["__file__"], request["source"].encode("latin-1")
    try:
        code = compile(source, name, "exec", dont_inherit=True)
    except MemoryError as error:
        return memory_failure(error)
    except Exception as error:
        return raised(error, "syntax", None)
    del source
    try:
        try:
            exec(code, namespace)
        finally:
            join_threads()
    except SystemExit as leave:
        return exit_failure(leave.code)
    except MemoryError as error:
        return memory_failure(error)
    except SyntaxError as error:
        return raised(error, "syntax", error.__traceback__.tb_next)
    except BaseException as error:
        return raised(error, "exception", error.__traceback__.tb_next)
    return None


def join_threads():
    """Waits for the script's threads as the interpreter does at its end."""
    run_quietly(getattr(sys.modules.get("threading"), "_shutdown", None))


def exit_failure(code):
    """What `sys.exit` means: 0 and None are success, text goes to stderr as exit code 1."""
    if code is None or (isinstance(code, int) and code == 0):
        return None
    if not isinstance(code, int):
        run_quietly(lambda: print(code, file=sys.stderr))
        code = 1
    return {"kind": "exit", "code": max(-(2**63), min(int(code), 2**63 - 1))}


def memory_failure(error):
    """A MemoryError that nobody caught; the reserve makes room to tell of it."""
    try:
        _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    except (OSError, ValueError):
        pass
    return raised(error, "memory", error.__traceback__ and error.__traceback__.tb_next)


def raised(error, kind, frames):
    """An exception as data, whatever its own methods do."""
    kind_of = type(error)
    name = kind_of.__qualname__
    if kind_of.__module__ not in ("builtins", "__main__"):
        name = f"{kind_of.__module__}.{name}"
    try:
        message = str(error)
    except Exception:
        message = "<the exception has no readable message>"
    try:
        lines = "".join(traceback.format_exception(kind_of, error, frames))
    except Exception:
        lines = name
    if len(lines) > MAX_TEXT:
        lines = lines[: MAX_TEXT // 2] + "\n…\n" + lines[-MAX_TEXT // 2 :]
    line = getattr(error, "lineno", None) if kind == "syntax" else None
    return {
        "kind": kind,
        "type": name,
        "message": message[:MAX_TEXT],
        "traceback": lines,
        "line": line if isinstance(line, int) else None,
    }


def run_quietly(function):
    """Calls something of the script's that may be missing or broken."""
    try:
        if function is not None:
            function()
    except BaseException:
        pass


def failure_text(failure):
    """A failure as JSON; text that is not Unicode is shown escaped."""
    shown = {
        key: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for key, value in failure.items()
    }
    return json.dumps(shown).encode()


def answer(channel_id, header, payload):
    """Writes the answer, but never into a descriptor that the script opened under this number."""
    try:
        now = os.fstat(CHANNEL)
        if (now.st_dev, now.st_ino) != channel_id:
            return
        os.write(CHANNEL, header)
        rest = memoryview(payload)
        while rest:
            rest = rest[os.write(CHANNEL, rest) :]
    except OSError:
        pass


# ---------------------------------------------------------------------------- the result


class Refused(Exception):
    """A value that JSON cannot keep; the path grows while the checks return."""

    def __init__(self, reason):
        super().__init__(reason)
        self.reason = reason
        self.path = []


ENCODER = json.JSONEncoder(
    ensure_ascii=False, allow_nan=False, check_circular=False, separators=(",", ":")
)


def encode_result(value, limit):
    """The result as JSON bytes, or the reason why it cannot be."""
    try:
        Check(texts=False).value(value)
        text = ENCODER.encode(value)
        try:
            data = text.encode()
        except UnicodeEncodeError:
            Check(texts=True).value(value)
            raise
        if len(data) > limit:
            raise Refused(f"{len(data)} bytes as JSON are over the limit of {limit}")
        return None, data
    except Refused as refused:
        return {"kind": "result", "path": path_text(refused.path), "reason": refused.reason}, b""
    except MemoryError as error:
        return memory_failure(error), b""
    except Exception as error:
        return {"kind": "result", "path": "result", "reason": f"{type(error).__name__}: {error}"}, b""


def hint(value):
    """Says how a value of a well-known type becomes one that JSON has."""
    if isinstance(value, (set, frozenset)):
        return " (use sorted(...) or list(...))"
    if hasattr(value, "isoformat"):
        return " (use .isoformat())"
    if isinstance(value, (bytes, bytearray, memoryview)):
        return " (use .decode() or base64)"
    if hasattr(value, "item") or hasattr(value, "tolist"):
        return " (use .item() or .tolist())"
    return ""


class Check:
    """Walks a value and refuses what would not come back unchanged.

    Whole containers of simple values are judged at once, by the set of their types: a list of a
    million numbers costs no call per number.
    """

    def __init__(self, texts):
        self.texts = texts
        self.open = set()
        self.simple = {bool, type(None)} if texts else {str, bool, type(None)}

    def value(self, value):
        if value is None or isinstance(value, bool):
            return
        if isinstance(value, str):
            self.text(value)
        elif isinstance(value, int):
            if not -(2**63) <= value < 2**64:
                raise Refused("an integer outside -2^63 to 2^64-1")
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise Refused(f"{float.__repr__(value)} is not a JSON number")
        elif isinstance(value, (list, tuple)):
            self.container(value, self.items)
        elif isinstance(value, dict):
            self.container(value, self.entries)
        else:
            raise Refused(f"{type(value).__name__} is not a JSON type{hint(value)}")

    def text(self, value):
        if self.texts:
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Refused("text with a lone surrogate") from None

    def container(self, value, walk):
        if id(value) in self.open:
            raise Refused("a value that contains itself")
        if len(self.open) == MAX_DEPTH:
            raise Refused(f"nested deeper than {MAX_DEPTH} levels")
        self.open.add(id(value))
        walk(value)
        self.open.discard(id(value))

    def items(self, value):
        if not self.all_fine(value):
            for index, item in enumerate(value):
                self.member(index, item)

    def entries(self, value):
        if self.texts or set(map(type, value)) - {str}:
            self.keys(value)
        if not self.all_fine(value.values()):
            for key, item in value.items():
                self.member(key, item)

    def member(self, key, item):
        if type(item) not in self.simple:
            try:
                self.value(item)
            except Refused as refused:
                refused.path.append(key)
                raise

    def all_fine(self, values):
        kinds = set(map(type, values))
        if kinds == {int}:
            return min(values) >= -(2**63) and max(values) < 2**64
        if kinds == {float}:
            return all(map(math.isfinite, values))
        return kinds <= self.simple

    def keys(self, value):
        seen = set()
        for key in value:
            text = key_text(key)
            try:
                self.text(text)
            except Refused as refused:
                refused.path.append(key)
                raise
            if text in seen:
                raise Refused(f"two keys become the same text {text!r}")
            seen.add(text)


def key_text(key):
    """A key as Python's json writes it."""
    if isinstance(key, str):
        return key
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, int):
        return int.__repr__(key)
    if isinstance(key, float):
        if not math.isfinite(key):
            raise Refused(f"the key {float.__repr__(key)} is not a JSON number")
        return float.__repr__(key)
    raise Refused(f"a key of type {type(key).__name__} is not a JSON key")


def path_text(path):
    """`result.a[0]["odd key"]`."""
    text = "result"
    for part in reversed(path):
        if isinstance(part, int) and not isinstance(part, bool):
            text += f"[{part}]"
        elif isinstance(part, str) and part.isidentifier():
            text += f".{part}"
        else:
            text += f"[{json.dumps(part if isinstance(part, str) else key_text(part))}]"
    return text


# ---------------------------------------------------------------------------- start


def close_inherited():
    """Closes what the engine left open in its children and frees descriptor 0 for the tasks."""
    for name in os.listdir("/proc/self/fd"):
        if int(name) > 2:
            try:
                os.close(int(name))
            except OSError:
                pass
    assert os.dup(0) == CONTROL
    empty = os.open(os.devnull, os.O_RDONLY)
    os.dup2(empty, 0)
    os.close(empty)


def forget_environment(allowed):
    """Drops what a wrapper around the interpreter has added to the variables that tasks may see."""
    for name in list(os.environ):
        if not any(name.startswith(a[:-1]) if a.endswith("*") else name == a for a in allowed):
            del os.environ[name]


def prefer_as_victim():
    """Lets a machine without memory end tasks before it ends the engine."""
    try:
        with open("/proc/self/oom_score_adj", "w") as score:
            score.write("500")
    except OSError:
        pass


def main():
    close_inherited()
    walls, *allowed = sys.argv[1:]
    if walls == "walled" and libc is None:
        sys.exit("a sandbox needs the module ctypes, which this interpreter was built without")
    forget_environment(allowed)
    guard_pid = os.getpid()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    parent_pid = os.fork()
    if parent_pid:
        guard(parent_pid)
    leave_guard(guard_pid)
    prefer_as_victim()
    for stream in (sys.stdout, sys.stderr):
        # A script that is killed keeps every line it has printed.
        stream.reconfigure(line_buffering=True)
    parent = Parent(per_task=4 if walls == "walled" else 3)
    gc.collect()
    gc.disable()
    gc.freeze()
    descriptors = parent.serve()
    run_task(leave_parent(parent, descriptors))


main()
