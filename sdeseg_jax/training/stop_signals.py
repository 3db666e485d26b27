"""Requests to stop: SIGTERM, a cluster's notice, Ctrl-C.

In a training, a request waits for the end of the step, where a checkpoint is saved. Elsewhere the process ends at once:
all other work is written to files atomically. A second request always ends it at once.

Several hosts stop together: JAX forwards the SIGTERM that one of them gets, and names a step at which all can stop.
A request outside of a training waits for the next one then.
"""

import os
import signal
import socket
import sys
import threading
from contextlib import contextmanager, suppress

import jax
from jax.experimental import multihost_utils

STOPPED = 75
"""Exit code after a request to stop: a temporary failure, the same command resumes."""

GRACE = 25.0
"""Seconds that a training has to finish its step; clusters kill processes 30 seconds after their notice."""

_HANDLED = 0
"""Byte that Python's handler sends to the watching thread; other bytes are signal numbers from the C handler."""


class Stopped(Exception):
    """A training has saved its state and ends because it was asked to; the message says where."""


class _Requests:
    """Requests that this process got."""

    def __init__(self):
        self.requested = False
        self.waits = False  # a request waits for a training, which will save its state
        self.acknowledged = False  # the training knows of it
        self.asked = 0  # calls of `requested` so far
        self.terminals: list[int] = []  # output streams that are terminals


_state = _Requests()


def install() -> None:
    """Handles requests from now on. Call it in the main thread, after `multi_host.join`: SIGTERM is JAX's then."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    names = ("SIGINT",) if jax.process_count() > 1 else ("SIGTERM", "SIGINT", "SIGHUP")
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]  # Windows has no SIGHUP
    _state.terminals = [stream for stream in (1, 2) if os.isatty(stream)]
    signals = [number for number in signals if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores SIGHUP
    for number in signals:
        signal.signal(number, lambda *_: os.write(sender.fileno(), bytes([_HANDLED])))
    # Both, because Python's handlers wait for the main thread, which may spend minutes in native code (compiling), and
    # event loops of libraries sometimes take over the descriptor, which is written to at once.
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    # The thread keeps the sender alive: garbage collection would close it.
    arguments = receiver, sender, frozenset(signals)
    threading.Thread(target=_watch, args=arguments, name="interruption", daemon=True).start()


def _watch(receiver: socket.socket, sender: socket.socket, signals: frozenset[int]) -> None:
    """Counts requests; each of them may arrive in either way or both."""
    at_once = handled = answered = 0
    name = "request"
    while True:
        for byte in receiver.recv(64):
            if byte == _HANDLED:
                handled += 1
            elif byte in signals:  # else it is a library's
                at_once, name = at_once + 1, signal.Signals(byte).name
        while answered < max(at_once, handled):
            answered += 1
            _answer(name, answered)


def _answer(name: str, count: int) -> None:
    if name == "SIGHUP":
        _mute()
    if count > 1:
        _end(f"{name} again: stopped at once. The same command resumes from the last checkpoint.")
    if not _state.waits or jax.process_count() > 1:
        _end(f"{name}: stopped. Finished work is kept; the same command resumes.")
    _state.requested = True
    timer = threading.Timer(GRACE, _give_up)
    timer.daemon = True
    timer.start()
    _say(f"{name}: stops after this step and saves a checkpoint (a second {name} stops at once)")


def _mute() -> None:
    """Discards output to a terminal that was closed: writing to it would raise errors anywhere in the program."""
    for stream in _state.terminals:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def _give_up() -> None:
    if not _state.acknowledged:
        _end(f"No step ended within {GRACE:g} seconds. The same command resumes from the last checkpoint.")


def _say(message: str) -> None:
    with suppress(OSError, ValueError):  # stderr may be closed
        print(f"\n{message}", file=sys.stderr, flush=True)


def _end(message: str) -> None:
    _say(message)
    end(STOPPED)


def end(code: int) -> None:
    """Ends this process without waiting for threads of libraries, which may take long or hang."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


@contextmanager
def requests_wait(waits: bool):
    """Context in which requests wait for the call of `requested` after a step, or end the process at once."""
    before, _state.waits = _state.waits, waits
    try:
        yield
    finally:
        _state.waits = before


def requested() -> bool:
    """Whether to save and stop now, the same on all hosts. All of them call it after every step of a training."""
    stop = _state.requested
    if jax.process_count() > 1:
        # Counts across trainings: JAX's hosts agree on a number that none of them has reached yet.
        _state.asked += 1
        stop = multihost_utils.reached_preemption_sync_point(_state.asked)
    _state.acknowledged = _state.acknowledged or stop
    return stop
