"""One host with four devices and two hosts with two compute the same; hosts that do not join say so."""

import os
import pathlib
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.compilation import CACHE, QUICK
from tests.training.conftest import make_ssl_batches
from tests.training.host_program import BATCH, STEPS, flat_state
from tests.training.steps import WEIGHTS, make_whole_training, replicate_over

PROGRAM = pathlib.Path(__file__).with_name("host_program.py")
ROOT = PROGRAM.parents[2]


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return str(found.getsockname()[1])


def environment():
    """Returns this process's environment without its devices, and without a cluster that it may run in."""
    foreign = ("XLA_FLAGS", "JAX_PLATFORMS", "SLURM_", "OMPI_", "KUBERNETES_", "TPU_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    own = {"XLA_FLAGS": QUICK, "JAX_PLATFORMS": "cpu", "JAX_COMPILATION_CACHE_DIR": CACHE, "PYTHONPATH": str(ROOT)}
    return kept | own


def run_together(commands, timeout=900, extra=None):
    """Runs commands side by side, each with its own extra variables; returns (exit code, output) of each."""
    running = [
        subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment() | more,
        )
        for command, more in zip(commands, extra or [{}] * len(commands), strict=True)
    ]
    try:
        outputs = [process.communicate(timeout=timeout)[0] for process in running]
    finally:
        for process in running:
            process.kill()
    return [(process.returncode, output) for process, output in zip(running, outputs, strict=True)]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """State after the steps on two hosts of two devices, and facts."""
    folder, port = tmp_path_factory.mktemp("hosts"), free_port()
    for code, output in run_together([[PROGRAM, folder, "2", "2", str(host), port] for host in range(2)]):
        assert code == 0, output
    return dict(np.load(folder / "state.npz")), dict(np.load(folder / "facts.npz"))


@pytest.fixture(scope="module")
def expected(config, multitask_network, multitask_variables):
    """State after the same steps on one host with four devices, and metrics; same program as `test_train_step.py`."""
    step, state = make_whole_training(config, multitask_network, multitask_variables)
    step = replicate_over(step, 4)
    for number in range(STEPS):
        state, metrics = step(state, make_ssl_batches(number, BATCH), WEIGHTS)
    return flat_state(state), metrics


PARTS = [
    f"[{tree}]['{part}']"
    for tree in (0, 1, 2)  # of the student's parameters, its statistics, the teacher's parameters
    for part in ("encoder", "depth_decoder", "segmentation_decoder", "distillation", "pose")
    if (tree, part) != (1, "distillation")
]


def distance(state, expected, names):
    """Distance relative to the size of the whole part: a bias that is still near zero has no size of its own."""
    squares = [np.sum((state[name].astype(np.float64) - expected[name]) ** 2) for name in names]
    return np.sqrt(sum(squares) / sum(np.sum(expected[name].astype(np.float64) ** 2) for name in names))


def test_the_hosts_do_not_matter(trained, expected):
    """Just as the number of devices of one host does not (`test_train_step.py`)."""
    (state, facts), (expected_state, metrics) = trained, expected
    assert facts["devices"] == 4 and state.keys() == expected_state.keys()
    for part in PARTS:
        names = [name for name in expected_state if name.startswith(part)]
        assert names and distance(state, expected_state, names) < 1e-5, part
    for name in ("loss/supervised", "loss/depth", "loss/pseudo_label", "gradient_norm"):
        np.testing.assert_allclose(facts[name], metrics[name], rtol=2e-5, atol=1e-6, err_msg=name)


def test_checkpoint_of_all_hosts_is_the_state(trained):
    assert trained[1]["restored"]


def test_counts_of_hosts_are_added(trained):
    np.testing.assert_array_equal(trained[1]["counts"], [[3, 2**41]])


def test_hosts_that_go_different_ways_are_told(tmp_path):
    """Otherwise each would wait for the other forever, for example if only one of them finds a finished stage."""
    program = (
        "import sys; from sdeseg_jax.config import UserError; from sdeseg_jax.training import multi_host as hosts\n"
        "host = int(sys.argv[1])\n"
        "hosts.join(f'localhost:{sys.argv[2]}', 2, host, timeout=120)\n"
        "hosts.wait_for_all('here')\n"
        "try: hosts.wait_for_all('start of train' if host else 'end of evaluate')\n"
        "except UserError as error: print(error, flush=True)\n"
        "import os, time; end = os._exit\n"
        "if host: os._exit = lambda code: (time.sleep(0.5), end(code))\n"  # the first must not go before it
        "hosts.leave(0)\n"
    )
    port = free_port()
    for code, output in run_together([["-c", program, str(host), port] for host in range(2)]):
        assert code == 0 and "at different places: 'end of evaluate' and 'start of train'" in output, output


MAIN = ["-m", "sdeseg_jax.main", f"--config={ROOT}/configs/streets.py:size=tiny"]


@pytest.mark.parametrize("host", [0, 1])
def test_a_host_that_does_not_join(tmp_path, host):
    """The waiting host, coordinator or not, ends with a message and not with JAX's abort."""
    flags = [f"--coordinator=localhost:{free_port()}", "--hosts=2", f"--host={host}", "--join_timeout=3"]
    [(code, output)] = run_together([[*MAIN, f"--workdir={tmp_path}", *flags]])
    assert code == 2, output
    assert f"host {host} waited 3 seconds, but not all 2 hosts joined at localhost:" in output
    assert "Traceback" not in output and "Check failure" not in output


def test_hosts_find_each_other_in_a_cluster(tmp_path):
    """They join by the variables of a SLURM job and run the job, which lacks an earlier stage and says so."""
    slurm = {
        "SLURM_JOB_ID": free_port(),
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_NTASKS": "2",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_LOCALID": "0",
    }
    command = [*MAIN, f"--workdir={tmp_path}", "--job=estimate_depth", "--cluster", "--join_timeout=60"]
    ended = run_together([command] * 2, extra=[slurm | {"SLURM_PROCID": str(host)} for host in range(2)])
    for code, output in ended:
        assert code == 2 and "Run it first: --job=pretrain_depth" in output and "Traceback" not in output, output
    assert all(f"host {host} of 2, 1 of 2 devices" in ended[host][1] for host in range(2))


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--hosts=2", "--host=0"], "--coordinator, --hosts and --host go together"),
        (
            ["--coordinator=localhost:1", "--hosts=2", "--host=2"],
            "--host=2 should be less than --hosts=2; hosts are numbered from 0",
        ),
        (["--cluster"], "the hosts cannot join"),
    ],
)
def test_flags_of_hosts_that_do_not_fit(tmp_path, flags, message):
    [(code, output)] = run_together([[*MAIN, f"--workdir={tmp_path}", *flags]])
    assert code == 2 and message in output and "Traceback" not in output, output
