"""Requests to stop, sent to other processes: they save and end in time, resume, and tell other hosts."""

import fcntl
import json
import os
import pathlib
import pty
import signal
import subprocess
import sys
import termios
import time

import pytest

from sdeseg_jax.training.checkpoints import Checkpoints
from sdeseg_jax.training.stop_signals import STOPPED
from tests.training.test_multi_host import environment, free_port

PROGRAM = pathlib.Path(__file__).with_name("interrupted_program.py")


def reset_signal_handlers():
    """Handles signals by default, because a process in the background ignores some."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Program:
    """The program in a process, with its messages in a file."""

    def __init__(self, folder, log, **settings):
        self.log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [sys.executable, PROGRAM, folder, json.dumps(settings)],
                stdout=file,
                stderr=file,
                env=environment(),
                preexec_fn=reset_signal_handlers,
            )

    def wait_for(self, text, seconds=120):
        end = time.monotonic() + seconds
        while text not in self.log.read_text():
            assert self.process.poll() is None and time.monotonic() < end, self.log.read_text()
            time.sleep(0.02)

    def end(self, seconds):
        """Returns exit code and messages."""
        try:
            return self.process.wait(seconds), self.log.read_text()
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"still runs after {seconds} seconds:\n{self.log.read_text()}")


@pytest.fixture
def start(tmp_path):
    """start(steps=..., ...) starts the program, always in the same folder."""
    started = []

    def start(**settings):
        program = Program(tmp_path / "training", tmp_path / f"log{len(started)}", **settings)
        started.append(program)
        return program

    yield start
    for program in started:
        program.process.kill()


def saved_steps(tmp_path):
    with Checkpoints(tmp_path / "training" / "checkpoints") as checkpoints:
        return checkpoints.steps()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_training_saves_its_step_and_resumes_there(start, tmp_path, number):
    program = start(steps=100_000, seconds=0.05)
    program.wait_for("number: 5/")
    program.process.send_signal(number)
    code, output = program.end(30)
    assert code == STOPPED == 75
    assert f"{number.name}: stops after this step and saves a checkpoint" in output
    (step,) = saved_steps(tmp_path)
    assert step >= 5 and f"number: stopped after step {step} of 100000, which is saved" in output
    assert "Traceback" not in output
    code, output = start(steps=step + 4, seconds=0).end(60)
    last = step + 4
    assert code == 0 and f"sum {last * (last + 1) / 2}" in output
    assert f"number: {step + 1}/{last}" in output and f"total {step}.000" not in output


def test_a_second_request_ends_at_once(start, tmp_path):
    program = start(steps=3, seconds=0.5, slow_after=1)
    program.wait_for("number: 1/")
    program.process.send_signal(signal.SIGTERM)
    program.wait_for("stops after this step", 5)
    program.process.send_signal(signal.SIGTERM)
    code, output = program.end(5)
    assert code == STOPPED and "SIGTERM again: stopped at once" in output
    assert saved_steps(tmp_path) == []


def test_a_step_that_does_not_end_in_time(start, tmp_path):
    """Before the cluster kills the process, it ends with a message."""
    program = start(steps=3, seconds=0.5, slow_after=1, grace=1.0)
    program.wait_for("number: 1/")
    program.process.send_signal(signal.SIGTERM)
    code, output = program.end(10)
    assert code == STOPPED and "No step ended within 1 seconds" in output and saved_steps(tmp_path) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_outside_of_a_training_a_request_ends_at_once(start, number):
    program = start(steps=3, seconds=3600, trains=False)
    program.wait_for("ready")
    program.process.send_signal(number)
    code, output = program.end(5)
    assert code == STOPPED and f"{number.name}: stopped. Finished work is kept" in output
    assert "Traceback" not in output


def test_a_request_to_one_of_two_hosts_stops_both_at_the_same_step(start, tmp_path):
    port = free_port()
    programs = [start(steps=100_000, seconds=0.1, hosts=2, host=host, port=port) for host in range(2)]
    programs[0].wait_for("number: 5/")
    programs[1].process.send_signal(signal.SIGTERM)
    ended = [program.end(60) for program in programs]
    (step,) = saved_steps(tmp_path)
    for code, output in ended:
        assert code == STOPPED and f"stopped after step {step} of 100000" in output, output


def test_a_request_between_two_trainings_of_several_hosts_stops_the_second(start, tmp_path):
    port = free_port()
    settings = {"steps": 100_000, "seconds": 0.05, "hosts": 2, "port": port, "first_steps": 40}
    programs = [start(host=host, **settings) for host in range(2)]
    for program in programs:
        program.wait_for("between")
    programs[1].process.send_signal(signal.SIGTERM)
    ended = [program.end(60) for program in programs]
    (step,) = saved_steps(tmp_path)
    assert step < 40
    for code, output in ended:
        assert code == STOPPED and f"number: stopped after step {step} of 100000" in output, output


def take_terminal():
    reset_signal_handlers()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_a_terminal_that_is_closed_costs_nothing(tmp_path):
    """The training can print no more, but saves and ends as usual."""
    terminal, own_end = pty.openpty()
    settings = json.dumps({"steps": 100_000, "seconds": 0.05})
    process = subprocess.Popen(
        [sys.executable, PROGRAM, tmp_path / "training", settings],
        stdin=own_end,
        stdout=own_end,
        stderr=own_end,
        start_new_session=True,
        env=environment(),
        preexec_fn=take_terminal,
    )
    try:
        os.close(own_end)
        output = b""
        while b"number: 5/" not in output:
            output += os.read(terminal, 1000)
        os.close(terminal)  # the kernel sends SIGHUP
        assert process.wait(30) == STOPPED
    finally:
        process.kill()
    (step,) = saved_steps(tmp_path)
    assert step >= 5


def test_hosts_resume_together_from_the_checkpoint_before_a_damaged_one(start, tmp_path):
    def run(steps):
        port = free_port()
        programs = [start(steps=steps, seconds=0, hosts=2, host=host, port=port) for host in range(2)]
        for code, output in (program.end(90) for program in programs):
            assert code == 0 and f"sum {steps * (steps + 1) / 2}" in output, output
        return programs

    run(3)
    run(6)
    largest = max((tmp_path / "training/checkpoints/6").rglob("d/*"), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-20])
    first, second = run(6)
    assert "it is renamed to 6.damaged" in first.log.read_text() and "number: 4/6" in first.log.read_text()
    assert saved_steps(tmp_path) == [3, 6] and not (tmp_path / "training/checkpoints/6.damaged").exists()
