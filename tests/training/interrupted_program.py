"""A training of one number, to be interrupted by `test_stop_signals.py`.

python tests/training/interrupted_program.py FOLDER '{"steps": 8, "seconds": 0.1, "hosts": 1, "host": 0, "port": "1"}'
"""

import itertools
import json
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))


def main(
    folder: pathlib.Path,
    steps: int,
    seconds: float,
    hosts=1,
    host=0,
    port="",
    grace=25.0,
    trains=True,
    slow_after=10**9,
    first_steps=0,
) -> None:
    """Adds up the batches 1, 2, ...; each takes `seconds`, those after `slow_after` an hour."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from sdeseg_jax.config import default_config
    from sdeseg_jax.training import multi_host as several
    from sdeseg_jax.training import stop_signals
    from sdeseg_jax.training.replication import AXIS, replicate
    from sdeseg_jax.training.train_state import create_state
    from sdeseg_jax.training.training_loop import Phase, run

    if hosts > 1:
        several.join(f"localhost:{port}", hosts, host, timeout=60)
    stop_signals.install()
    stop_signals.GRACE = grace

    def step(state, batch):
        value = jax.lax.pmean(jnp.mean(batch), AXIS)
        state = state.replace(step=state.step + 1, params={"w": state.params["w"] + value})
        return state, {"loss/total": value}

    def batches(first):
        for number in itertools.count(first + 1):
            time.sleep(seconds if number <= slow_after else 3600)
            yield np.full(jax.local_device_count(), number, np.float32)

    runtime = default_config().runtime
    runtime.update(log_every=1, checkpoint_every=1000, tensorboard=False)
    if not trains:
        print("ready", file=sys.stderr, flush=True)
        time.sleep(seconds)
    start = lambda: create_state({"params": {"w": jnp.zeros(3)}, "batch_stats": {}}, optax.sgd(1.0))  # noqa: E731
    try:
        if first_steps:
            run("first", start(), [Phase(first_steps, replicate(step))], batches, folder / "first", runtime)
            print("between", file=sys.stderr, flush=True)
            time.sleep(4)
        state = run("number", start(), [Phase(steps, replicate(step))], batches, folder, runtime)
    except stop_signals.Stopped as stopped:
        print(stopped, file=sys.stderr)
        stop_signals.end(stop_signals.STOPPED)
    several.wait_for_all("the end")
    print(f"sum {float(state.params['w'][0])}")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), **json.loads(sys.argv[2]))
