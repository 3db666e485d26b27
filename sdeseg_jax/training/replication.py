"""Data parallelism: the only file that maps per-device functions over devices (pmap)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from sdeseg_jax.training.multi_host import wait_for_all

AXIS = "devices"
"""Name of the mapped axis, for `pmean` and other collectives in a per-device step."""


def replicate(step: Callable, **shared) -> Callable:
    """Maps `step(state, batch) -> (state, metrics)` over all devices.

    State and metrics go in and out un-replicated; the batch is split on its first axis. The step must leave state and
    metrics equal on all devices (`pmean` over `AXIS`).

    Args:
      step: pure per-device function that may name `AXIS`.
      **shared: arrays that are added to every batch (a dict) under these names, unsplit. Unlike arrays that a step
        closes over, they are not part of its program: other values need no compilation.

    Returns:
      The same function of (state, host batch). The given state is donated: use the returned one. Calls do not wait:
      the next batch moves to the devices while they compute this step.
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
            # Hosts take unequally long to compile, and CPUs wait only 30 seconds for each other when they connect.
            program.lower(state, batch, *extra).compile()
            wait_for_all("compiled")
            met = True
        return program(state, batch, *extra)

    return run


def put(batch):
    """Starts moving a host batch to the local devices, split (and raising) as by `split`."""
    return jax.device_put(split(batch), _sharding(jax.local_devices(), AXIS))


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
    """Converts the uint8 images [..., 3] of a batch to float32 in [0, 1]; other arrays stay unchanged.

    The pipeline delivers bytes, a quarter of the memory to move; this is the first operation on the device.
    """

    def one(x):
        return x.astype(jnp.float32) / 255.0 if x.dtype == jnp.uint8 and x.shape[-1] == 3 and x.ndim >= 4 else x

    return jax.tree.map(one, batch)


def check_batch_size(size: int, devices: int) -> None:
    """Raises ValueError if a batch cannot be divided evenly among the devices."""
    if size % devices:
        raise ValueError(f"a batch of {size} cannot be divided among {devices} devices; use a multiple of {devices}")


def smallest_batch(devices: int, synchronized: bool) -> int:
    """Returns the smallest batch that can be trained on: a multiple of the devices, of two images per statistic.

    The image-level branch of the ASPP, which every decoder has, gives BatchNorm one value per image and channel. From a
    single one it computes a variance of 0: the branch then always returns its bias, learns nothing, and at inference,
    where the running variance of 0 divides, returns huge numbers. On Streets (20 labels, 400 steps), batch 1 ended at
    an mIoU of 11 instead of 37.

    Args:
      devices: of all hosts.
      synchronized: whether statistics are those of all devices' images, see `Network.sync_batch_norm`.
    """
    return devices * (-(-2 // devices) if synchronized else 2)


def replicate_inference(
    function: Callable, finish: Callable | None = None, prepare: Callable | None = to_float
) -> Callable:
    """Maps `function(variables, batch) -> outputs` over the local devices, split on the first axis of both.

    Each host calls it independently, with any number of batches.

    Args:
      function: see above.
      finish: (outputs, *shared) -> outputs, a program of its own; `shared` is the same on all devices.
      prepare: applied to the batch first, or None.

    Returns:
      Function of (variables, host batch [B, ...], *shared) that returns host arrays [B, ...].
    """
    devices = jax.local_devices()

    def per_device(variables, batch):
        return function(variables, prepare(batch) if prepare else batch)

    mapped = jax.pmap(per_device, axis_name=AXIS, in_axes=(None, 0), out_axes=0, devices=devices)
    if finish:
        finished = jax.pmap(
            lambda outputs, shared: finish(outputs, *shared), axis_name=AXIS, in_axes=(0, None), devices=devices
        )

    def run(variables, batch, *shared):
        outputs = mapped(variables, split(batch))
        outputs = jax.device_get(finished(outputs, shared) if finish else outputs)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)

    return run


def round_up(batch_size: int) -> int:
    """Returns the next batch size that can be divided among the local devices."""
    devices = jax.local_device_count()
    return -(-batch_size // devices) * devices


def place(state):
    """Replicates a state on all local devices, as the mapped step does; else the step's second call compiles again."""
    return jax.device_put(state, _sharding(jax.local_devices()))


def _sharding(devices, *axes: str) -> jax.sharding.Sharding:
    mesh = jax.sharding.Mesh(np.array(devices), (AXIS,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*axes))


def replicated_on_all_hosts() -> jax.sharding.Sharding:
    """Returns the sharding of an array that all devices of all hosts hold."""
    return _sharding(jax.devices())


def to_save(state):
    """Converts a replicated state, from `place` or the step, for a checkpoint; nothing is copied.

    On one host, to the first device's arrays: Orbax would split every array into a piece per device, each with an
    operation that the training waits for. With several hosts, to global arrays, which all hosts know to be equal.
    """
    if jax.process_count() > 1:
        return _reshard(state, replicated_on_all_hosts())
    is_replicated = lambda x: isinstance(x, jax.Array) and x.is_fully_replicated  # noqa: E731
    return jax.tree.map(lambda x: x.addressable_shards[0].data if is_replicated(x) else x, state)


def as_local(state):
    """Converts arrays that all devices hold to those that `place` returns; nothing is copied."""
    return _reshard(state, _sharding(jax.local_devices())) if jax.process_count() > 1 else state


def _reshard(state, sharding: jax.sharding.Sharding):
    def reshard(x):
        shards = [shard.data for shard in x.addressable_shards]
        return jax.make_array_from_single_device_arrays(x.shape, sharding, shards)

    return jax.tree.map(reshard, state)


def shard_rows(array, fill=0, dtype=None) -> jax.Array:
    """Splits the rows of an array [N, ...] among the local devices: [devices, ceil(N / devices), ...].

    Args:
      array: NumPy array; a memory-mapped file is read one device's share at a time.
      fill: value of the rows that are added at the end to make the shares equal.
      dtype: to convert to.
    """
    devices = jax.local_device_count()
    share = -(-len(array) // devices)

    def device_share(index):
        first = (index[0].start or 0) * share
        part = array[first : first + share]
        out = np.full((1, share, *array.shape[1:]), fill, dtype or array.dtype)
        out[0, : len(part)] = part
        return out

    sharding = _sharding(jax.local_devices(), AXIS)
    return jax.make_array_from_callback((devices, share, *array.shape[1:]), sharding, device_share)


def replicate_rows(function: Callable) -> Callable:
    """Maps `function(rows, shared) -> (rows, shared)` over the local devices.

    `rows` are arrays from `shard_rows`, or trees of them; `shared` is the same on all devices, in and out.
    """
    return jax.pmap(function, axis_name=AXIS, in_axes=(0, None), out_axes=(0, None))
