"""Requests to stop: what SIGTERM, a cluster's notice and Ctrl-C do.

In a training, a request waits for the end of the step, where a checkpoint is saved. Elsewhere the process ends at once:
all other work is stored in files that are whole whenever they exist. A second request ends it at once anywhere.

Several hosts stop together: JAX passes on the SIGTERM that one of them gets, and says at which step all have heard.
What comes outside of a training waits for the next one there.
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
"""Exit code after a request to stop: a temporary failure, the same command goes on."""

GRACE = 25.0
"""Seconds that a training has for the step that it is in; clusters kill what is left 30 seconds after their notice."""

_HANDLED = 0
"""What Python's handler tells the watching thread; other bytes are numbers of signals, from the C handler."""


class Stopped(Exception):
    """A training has saved its state and ends because it was asked to; the message says where."""


class _Requests:
    """The state of this process."""

    def __init__(self):
        self.requested = False
        self.waits = False  # a request waits for a training, which will save its state
        self.acknowledged = False  # the training has heard of it
        self.asked = 0  # times that trainings asked
        self.terminals: list[int] = []  # output that goes to one


_state = _Requests()


def install() -> None:
    """Handles requests from now on; in the main thread, and after `hosts.join`, whose SIGTERM is JAX's."""
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    names = ("SIGINT",) if jax.process_count() > 1 else ("SIGTERM", "SIGINT", "SIGHUP")
    signals = [getattr(signal, name) for name in names if hasattr(signal, name)]  # Windows has no SIGHUP
    _state.terminals = [stream for stream in (1, 2) if os.isatty(stream)]
    signals = [number for number in signals if signal.getsignal(number) != signal.SIG_IGN]  # as nohup sets it
    for number in signals:
        signal.signal(number, lambda *_: os.write(sender.fileno(), bytes([_HANDLED])))
    # Python's handlers wait for the main thread, which may be in native code for minutes: compiling, for example. The
    # descriptor is written to at once, but event loops of libraries borrow it now and then; hence both.
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    # The sender is passed on to be kept: once collected, it is closed.
    arguments = receiver, sender, frozenset(signals)
    threading.Thread(target=_watch, args=arguments, name="interruption", daemon=True).start()


def _watch(receiver: socket.socket, sender: socket.socket, signals: frozenset[int]) -> None:
    """Counts requests, each of which may be heard of in either way, or both."""
    at_once = handled = answered = 0
    name = "request"
    while True:
        for byte in receiver.recv(64):
            if byte == _HANDLED:
                handled += 1
            elif byte in signals:  # not a library's own
                at_once, name = at_once + 1, signal.Signals(byte).name
        while answered < max(at_once, handled):
            answered += 1
            _answer(name, answered)


def _answer(name: str, count: int) -> None:
    if name == "SIGHUP":
        _mute()
    if count > 1:
        _end(f"{name} again: ends at once. The same command goes on from the last checkpoint.")
    if not _state.waits or jax.process_count() > 1:
        _end(f"{name}: stopped. Nothing that was finished is lost; the same command goes on.")
    _state.requested = True
    timer = threading.Timer(GRACE, _give_up)
    timer.daemon = True
    timer.start()
    _say(f"{name}: saves after this step, and stops (again: stops at once)")


def _mute() -> None:
    """The terminal is gone: what would still be written there would raise errors wherever it is."""
    for stream in _state.terminals:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream)


def _give_up() -> None:
    if not _state.acknowledged:
        _end(f"No step ended within {GRACE:g} seconds. The same command goes on from the last checkpoint.")


def _say(message: str) -> None:
    with suppress(OSError, ValueError):  # nobody reads any more
        print(f"\n{message}", file=sys.stderr, flush=True)


def _end(message: str) -> None:
    _say(message)
    end(STOPPED)


def end(code: int) -> None:
    """Ends this process without waiting for anything: threads of libraries may take long, or hang."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


@contextmanager
def saved_at_steps():
    """In it, requests wait for `requested` to be asked, which happens after every step."""
    _state.waits = True
    try:
        yield
    finally:
        _state.waits = False


@contextmanager
def nothing_to_save():
    """In it, a request ends the process at once although a training goes on: all is saved."""
    waits, _state.waits = _state.waits, False
    try:
        yield
    finally:
        _state.waits = waits


def requested() -> bool:
    """Whether to save and stop now, the same on all hosts; all of them ask after every step of a training."""
    stop = _state.requested
    if jax.process_count() > 1:
        # Counts on from training to training: JAX's hosts agree on a number that none of them has reached yet.
        _state.asked += 1
        stop = multihost_utils.reached_preemption_sync_point(_state.asked)
    _state.acknowledged = _state.acknowledged or stop
    return stop
