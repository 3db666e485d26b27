"""Three steps of the whole multi-task training on one of several hosts, run by `test_multi_host.py`.

python tests/training/host_program.py FOLDER DEVICES_PER_HOST HOSTS HOST PORT
"""

import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

BATCH, STEPS = 4, 3


def flat_state(state):
    """Returns {path: array} of the student's and the teacher's variables."""
    import jax
    import numpy as np

    parts = state.params, state.batch_stats, state.teacher_params
    return {jax.tree_util.keystr(path): np.asarray(value) for path, value in jax.tree_util.tree_leaves_with_path(parts)}


def main(folder: pathlib.Path, hosts: int, host: int, port: str) -> None:
    """Trains, saves a checkpoint, restores it; the first host writes the results."""
    import jax
    import numpy as np

    from sdeseg_jax.training import multi_host as several

    several.join(f"localhost:{port}", hosts, host, timeout=120)
    from sdeseg_jax.training.checkpoints import Checkpoints
    from sdeseg_jax.training.initialization import random_variables
    from sdeseg_jax.training.replication import place, replicate
    from tests.training.conftest import SIZE, make_multitask_network, make_ssl_batches, tiny_config
    from tests.training.steps import WEIGHTS, make_whole_training

    config = tiny_config()
    network = make_multitask_network(config)
    step, state = make_whole_training(config, network, random_variables(network, 0, SIZE))
    step, state = replicate(step, class_weights=WEIGHTS), place(state)
    share = BATCH // hosts
    with Checkpoints(folder / "checkpoints") as checkpoints:
        for number in range(STEPS):
            batches = make_ssl_batches(number, BATCH)
            own = jax.tree.map(lambda x: x[host * share : (host + 1) * share], batches)
            state, metrics = step(state, own)
        checkpoints.save(STEPS, state)
        checkpoints.wait()
        restored = place(checkpoints.restore(state))
    same = jax.tree.map(lambda a, b: np.array_equal(jax.device_get(a), jax.device_get(b)), restored, state)
    counts = several.total(np.array([[host + 1, 2**40]], np.int64))
    several.wait_for_all("the end")
    if several.is_first():
        np.savez(folder / "state.npz", **flat_state(state))
        facts = {"restored": all(jax.tree.leaves(same)), "counts": counts, "devices": jax.device_count()}
        np.savez(folder / "facts.npz", **facts, **{name: np.asarray(value) for name, value in metrics.items()})


if __name__ == "__main__":
    os.environ["XLA_FLAGS"] += f" --xla_force_host_platform_device_count={sys.argv[2]}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    main(pathlib.Path(sys.argv[1]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
