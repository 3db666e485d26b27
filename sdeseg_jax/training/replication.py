"""Data parallelism: the only file that knows how a per-device step becomes a step over all devices (pmap)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sdeseg_jax.training.multi_host import wait_for_all

AXIS = "devices"
"""Name of the mapped axis, for `pmean` and friends inside a per-device step."""


def replicate(step: Callable, **shared) -> Callable:
    """Maps `step(state, batch) -> (state, metrics)` over all devices.

    State and metrics go in and out un-replicated; the batch is split on its first axis. The step must leave state and
    metrics equal on all devices (`pmean` over `AXIS`).

    Args:
      step: pure per-device function that may name `AXIS`.
      **shared: arrays that every batch, a dict, gets under these names, on every device whole. Unlike what a step
        closes over, they are no part of its program: trainings with others of them compile nothing anew.

    Returns:
      The same function of (state, host batch). The given state is donated: use the returned one. Nothing waits: the
      next batch is on its way to the devices while they compute this step.
    """

    def per_device(state, batch, *extra):
        batch = to_float(batch)
        return step(state, batch | extra[0] if extra else batch)

    extra, met = (place(shared),) if shared else (), jax.process_count() == 1  # pmap takes no empty trees
    axes = (None, 0, *(None for _ in extra))
    program = jax.pmap(per_device, axis_name=AXIS, in_axes=axes, out_axes=(None, None), donate_argnums=(0,))

    def run(state, batch):
        nonlocal met
        batch = put(batch)
        if not met:
            # Compiling takes hosts unequally long, and CPUs that are to connect wait for each other for 30 seconds.
            program.lower(state, batch, *extra).compile()
            wait_for_all("compiled")
            met = True
        return program(state, batch, *extra)

    return run


def put(batch):
    """Starts moving a host batch to the local devices: arrays [B, ...] become [local devices, B / devices, ...].

    Raises as `split`.
    """
    sharding = jax.sharding.NamedSharding(_local_mesh(), jax.sharding.PartitionSpec(AXIS))
    return jax.device_put(split(batch), sharding)


def split(batch):
    """Splits every array [B, ...] of a batch to [local devices, B / devices, ...].

    Raises:
      ValueError: B is not a multiple of the number of local devices.
    """
    devices = jax.local_device_count()

    def one(x):
        x = np.asarray(x)
        check_batch_size(x.shape[0], devices)
        return x.reshape(devices, x.shape[0] // devices, *x.shape[1:])

    return jax.tree.map(one, batch)


def to_float(batch):
    """Images [..., 3] of type uint8 to float32 in [0, 1], wherever they are in a batch; the rest as it is.

    The pipeline hands images over as bytes, a quarter of the memory to move; this comes first on the device.
    """

    def one(x):
        return x.astype(jnp.float32) / 255.0 if x.dtype == jnp.uint8 and x.shape[-1] == 3 and x.ndim >= 4 else x

    return jax.tree.map(one, batch)


def check_batch_size(batch_size: int, devices: int) -> None:
    """Raises ValueError if a batch cannot be divided evenly among the devices."""
    if batch_size % devices:
        raise ValueError(
            f"a batch of {batch_size} cannot be divided among {devices} devices; use a multiple of {devices}"
        )


def replicate_inference(
    function: Callable, finish: Callable | None = None, prepare: Callable | None = to_float
) -> Callable:
    """Maps `function(variables, batch) -> outputs` over the local devices: batch and outputs are split on their first
    axis. Hosts do this each for itself, with as many batches as they like.

    Args:
      function: see above.
      finish: (outputs, *shared) -> outputs, a program of its own; what is shared is the same on all devices.
      prepare: applied to the batch before; None for nothing.

    Returns:
      Function of (variables, host batch [B, ...]), and what is shared if there is a `finish`, that returns host arrays
      [B, ...].
    """
    devices = jax.local_devices()

    def per_device(variables, batch):
        return function(variables, prepare(batch) if prepare else batch)

    mapped = jax.pmap(per_device, axis_name=AXIS, in_axes=(None, 0), out_axes=0, devices=devices)
    if finish:

        def finishing(outputs, shared):
            return finish(outputs, *shared)

        finished = jax.pmap(finishing, axis_name=AXIS, in_axes=(0, None), devices=devices)

    def run(variables, batch, *shared):
        outputs = mapped(variables, split(batch))
        outputs = jax.device_get(finished(outputs, shared) if finish else outputs)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)

    return run


def round_up(batch_size: int) -> int:
    """The next batch size that all local devices can share."""
    devices = jax.local_device_count()
    return -(-batch_size // devices) * devices


def place(state):
    """Puts a state where the mapped step leaves it: on all local devices. Else its second call compiles again."""
    return jax.device_put(state, jax.sharding.NamedSharding(_local_mesh(), jax.sharding.PartitionSpec()))


def _local_mesh() -> jax.sharding.Mesh:
    return jax.sharding.Mesh(np.array(jax.local_devices()), (AXIS,))


def everywhere() -> jax.sharding.Sharding:
    """Of an array that all devices of all hosts hold."""
    return jax.sharding.NamedSharding(jax.sharding.Mesh(np.array(jax.devices()), (AXIS,)), jax.sharding.PartitionSpec())


def to_save(state):
    """A state that is equal on all devices, as `place` or the step leaves it, as a checkpoint takes it; nothing is
    copied.

    On one host it is what the first device holds: Orbax would cut every array in as many pieces as there are devices,
    an operation each, while the training waits. Of several hosts it is arrays of all of them: then they know that they
    hold the same.
    """

    def of_one_host(x):
        return x.addressable_shards[0].data if isinstance(x, jax.Array) and x.is_fully_replicated else x

    def of_all_hosts(x):
        shards = [shard.data for shard in x.addressable_shards]
        return jax.make_array_from_single_device_arrays(x.shape, everywhere(), shards)

    return jax.tree.map(of_one_host if jax.process_count() == 1 else of_all_hosts, state)


def as_local(state):
    """The local devices' part of arrays that all devices hold, as `place` would put them; nothing is copied."""
    sharding = jax.sharding.NamedSharding(_local_mesh(), jax.sharding.PartitionSpec())

    def one(x):
        shards = [shard.data for shard in x.addressable_shards]
        return jax.make_array_from_single_device_arrays(x.shape, sharding, shards)

    return jax.tree.map(one, state) if jax.process_count() > 1 else state


def shard_rows(array, fill=0, dtype=None) -> jax.Array:
    """Spreads the rows of an array [N, ...] over the local devices: [devices, ceil(N / devices), ...].

    Args:
      array: NumPy array; a memory-mapped file is read a device's share at a time.
      fill: value of the rows that are added at the end to make the shares equal.
      dtype: to convert to.
    """
    devices = jax.local_device_count()
    share = -(-len(array) // devices)

    def of_device(index):
        first = (index[0].start or 0) * share
        part = array[first : first + share]
        out = np.full((1, share, *array.shape[1:]), fill, dtype or array.dtype)
        out[0, : len(part)] = part
        return out

    sharding = jax.sharding.NamedSharding(_local_mesh(), jax.sharding.PartitionSpec(AXIS))
    return jax.make_array_from_callback((devices, share, *array.shape[1:]), sharding, of_device)


def replicate_rows(function: Callable) -> Callable:
    """Maps `function(rows, shared) -> (rows, shared)` over the local devices.

    Rows are arrays of `shard_rows`, or trees of them; what is shared is the same on all devices, in and out.
    """
    return jax.pmap(function, axis_name=AXIS, in_axes=(0, None), out_axes=(0, None))
