"""Several hosts that work on one run: how they join, wait for each other and agree, and which of them writes.

All hosts run the same job side by side with the same workdir, on storage that they share.
"""

import itertools
import logging
import os
import sys
import threading
import time
from contextlib import suppress

import jax
import numpy as np
from jax._src import distributed
from jax.experimental import multihost_utils

from sdeseg_jax.config import UserError

JOIN_TIMEOUT = 300
"""Seconds that hosts wait for each other at the start."""

LEAVE_TIMEOUT = 5
"""Seconds that a host waits for the others before it ends: they may be about to end for the same reason."""

LAST_TO_LEAVE = 1
"""Seconds by which the first host ends after the others: JAX aborts those that still run when it has ended."""

WAIT_TIMEOUT = 24 * 3600
"""Seconds that hosts wait for each other during a run; if one of them dies, JAX ends the others at once."""

JOIN_FAILED = 2
"""Exit code of a host that the others did not join in time."""


def join(
    coordinator: str | None = None, hosts: int | None = None, host: int | None = None, timeout: int = JOIN_TIMEOUT
) -> None:
    """Joins the other hosts' processes. Call it before any device is used.

    JAX finds missing arguments on TPU pods, SLURM, Open MPI and Kubernetes. In SLURM and Open MPI jobs every process
    then has one GPU: a "host" is a process, and a machine may have several. If the others do not join in time, the
    process ends with a message, where JAX would abort it with a stack trace.

    Args:
      coordinator: address and port of host 0, "node1:1234".
      hosts: number of hosts.
      host: number of this host, from 0.
      timeout: seconds to wait.

    Raises:
      ValueError: an argument is missing and no cluster is found, or the numbers are wrong.
    """
    who = f"host {host}" if host is not None else "this host"

    def give_up():
        print(
            f"Error: {who} waited {timeout} seconds, but not all {f'{hosts} ' if hosts else ''}hosts joined at "
            f"{coordinator or 'the coordinator of the cluster'}. Check that every host runs this command, with its own "
            "--host and the same --hosts and --coordinator, and that the others can reach the port of host 0. "
            "--join_timeout sets the seconds.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(JOIN_FAILED)  # the main thread hangs in native code

    clock = threading.Timer(timeout, give_up)
    clock.daemon = True
    clock.start()
    try:
        # For collectives on CPUs; GPUs and TPUs ignore the setting.
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            coordinator,
            hosts,
            host,
            initialization_timeout=timeout + 60,
            # Without detection if all is given: in a SLURM job JAX would use only one GPU per process.
            cluster_detection_method=None if None in (coordinator, hosts, host) else "deactivate",
        )
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"the hosts cannot join: {error} Outside of a cluster that JAX knows, give --coordinator, --hosts and "
            "--host, all three."
        ) from error
    finally:
        clock.cancel()
    counts = jax.process_index(), jax.process_count(), jax.local_device_count(), jax.device_count()
    logging.getLogger(__name__).info("host %d of %d, %d of %d devices", *counts)


def leave(code: int) -> None:
    """Ends this process; with several hosts at once, because the usual exit would wait for the others."""
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        meet_to_leave()
        os._exit(code)
    sys.exit(code)


def meet_to_leave() -> None:
    """Waits a little for other hosts that also end: JAX aborts them with a stack trace when it misses this one."""
    if jax.distributed.is_initialized():
        with suppress(Exception):  # a courtesy
            distributed.global_state.client.wait_at_barrier("leave", LEAVE_TIMEOUT * 1000)
            if is_first():  # the others are connected to it
                time.sleep(LAST_TO_LEAVE)


def is_first() -> bool:
    """Whether this host is the one that writes logs, records and reports."""
    return jax.process_index() == 0


_waited = itertools.count()


def wait_for_all(name: str) -> None:
    """Returns when all hosts have called it, however long that takes.

    It uses no devices: CPUs of several hosts connect within 30 seconds or fail.

    Args:
      name: of the place in the program, the same on all hosts.

    Raises:
      UserError: hosts wait at different places.
    """
    if jax.process_count() == 1:
        return
    client, place = distributed.global_state.client, f"sdeseg_jax/{next(_waited)}"
    client.key_value_set(f"{place}/{jax.process_index()}", name)
    client.wait_at_barrier(place, WAIT_TIMEOUT * 1000)
    names = sorted({found for _, found in client.key_value_dir_get(f"{place}/")})
    if len(names) > 1:
        raise UserError(
            f"the hosts wait for each other at different places: {' and '.join(map(repr, names))}. Run the same "
            "command on all of them, with --workdir on storage that they share."
        )


def first_says(decision: bool) -> bool:
    """Returns the first host's decision on all hosts."""
    if jax.process_count() == 1:
        return decision
    wait_for_all("first_says")
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(decision)))


def total(counts: np.ndarray) -> np.ndarray:
    """Returns the sum of all hosts' int64 arrays."""
    if jax.process_count() == 1:
        return counts
    wait_for_all("total")
    # As pairs of 32 bits: JAX would truncate 64.
    pairs = multihost_utils.process_allgather(np.ascontiguousarray(counts, np.int64).view(np.int32))
    return np.ascontiguousarray(pairs).view(np.int64).sum(axis=0)
