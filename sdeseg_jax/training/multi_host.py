"""Several hosts working on one run: joining, waiting for each other, and the one of them that writes.

All hosts run the same job side by side and read and write the same workdir, which must lie on storage that they share.
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
"""Seconds that a host that ends waits for the others, which may be about to end for the same reason."""

LAST_TO_LEAVE = 1
"""Seconds that the first host stays when all have met to leave: without it, JAX aborts those who are still there."""

WAIT_TIMEOUT = 24 * 3600
"""Seconds that hosts wait for each other on the way; JAX ends them at once if one of them dies."""

JOIN_FAILED = 2
"""Exit code of a host that waited in vain."""


def join(
    coordinator: str | None = None, hosts: int | None = None, host: int | None = None, timeout: int = JOIN_TIMEOUT
) -> None:
    """Joins the other hosts' processes; before any device is used.

    What is left out is found out from the cluster: TPU pods, SLURM, Open MPI and Kubernetes are known to JAX. In SLURM
    and Open MPI jobs every process then has one GPU, so that a host is a process here, of which a machine may have
    several. If the others do not come in time, the process ends with a message: JAX itself would abort it with a stack
    trace.

    Args:
      coordinator: address and port of host 0, "node1:1234".
      hosts: their number.
      host: which one this is, from 0.
      timeout: seconds to wait.

    Raises:
      ValueError: something is left out and no cluster is found, or the numbers are wrong.
    """
    who = f"host {host}" if host is not None else "this host"

    def give_up():
        print(
            f"Error: {who} waited {timeout} seconds in vain for all {hosts or ''} hosts to meet at "
            f"{coordinator or 'the coordinator of the cluster'}. Does every one of them run this command, with its own "
            "--host and the same --hosts and --coordinator? Is the port of host 0 open to the others? "
            "--join_timeout sets the seconds.",
            file=sys.stderr,
            flush=True,
        )
        os._exit(JOIN_FAILED)  # the main thread hangs in native code

    clock = threading.Timer(timeout, give_up)
    clock.daemon = True
    clock.start()
    try:
        # CPUs of several hosts need a library for what GPUs and TPUs do themselves; others ignore the setting.
        jax.config.update("jax_cpu_collectives_implementation", "gloo")
        jax.distributed.initialize(
            coordinator,
            hosts,
            host,
            initialization_timeout=timeout + 60,
            # Where all is said, do not look: in a SLURM job JAX would take one GPU per process alone.
            cluster_detection_method=None if None in (coordinator, hosts, host) else "deactivate",
        )
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"the hosts cannot join: {error} Outside of a cluster that JAX knows, --coordinator, --hosts and --host "
            "are needed, all three."
        ) from error
    finally:
        clock.cancel()
    logging.getLogger(__name__).info(
        "host %d of %d, %d of %d devices", jax.process_index(), jax.process_count(), jax.local_device_count(),
        jax.device_count(),
    )  # fmt: skip


def leave(code: int) -> None:
    """Ends this process; one of several at once, without the others, who else would be waited for at the end."""
    if jax.distributed.is_initialized():
        sys.stdout.flush()
        meet_to_leave()
        os._exit(code)
    sys.exit(code)


def meet_to_leave() -> None:
    """Waits a little for other hosts that are about to end, too.

    JAX aborts them with a stack trace as soon as it misses this one.
    """
    if jax.distributed.is_initialized():
        with suppress(Exception):  # a courtesy
            distributed.global_state.client.wait_at_barrier("leave", LEAVE_TIMEOUT * 1000)
            if is_first():  # what the others are connected to: it goes last
                time.sleep(LAST_TO_LEAVE)


def is_first() -> bool:
    """Whether this host writes what all hosts know: logs, records, reports."""
    return jax.process_index() == 0


_waited = itertools.count()


def wait_for_all(name: str) -> None:
    """Returns when all hosts have come here, however long that takes.

    Their devices are not asked: CPUs of several hosts connect within 30 seconds or fail.

    Args:
      name: of the place, the same on all hosts.

    Raises:
      ConfigError: hosts went different ways, and wait at different places.
    """
    if jax.process_count() == 1:
        return
    client, place = distributed.global_state.client, f"sdeseg_jax/{next(_waited)}"
    client.key_value_set(f"{place}/{jax.process_index()}", name)
    client.wait_at_barrier(place, WAIT_TIMEOUT * 1000)
    names = sorted({found for _, found in client.key_value_dir_get(f"{place}/")})
    if len(names) > 1:
        raise UserError(
            f"the hosts went different ways: they wait for each other at {' and at '.join(map(repr, names))}. Do all "
            "run the same command, with --workdir on storage that they share?"
        )


def first_says(decision: bool) -> bool:
    """What the first host decides, on all of them."""
    if jax.process_count() == 1:
        return decision
    wait_for_all("first_says")
    return bool(multihost_utils.broadcast_one_to_all(np.asarray(decision)))


def total(counts: np.ndarray) -> np.ndarray:
    """Sum of all hosts' int64 arrays."""
    if jax.process_count() == 1:
        return counts
    wait_for_all("total")
    # As pairs of 32 bits, since JAX would cut 64 down.
    pairs = multihost_utils.process_allgather(np.ascontiguousarray(counts, np.int64).view(np.int32))
    return np.ascontiguousarray(pairs).view(np.int64).sum(axis=0)
