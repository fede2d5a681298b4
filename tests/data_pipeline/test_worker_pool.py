"""Workers compute in order, say when one of them was ended, and end with the process that started them."""

import os
import signal
import subprocess
import sys
import time
from functools import partial

import psutil  # type: ignore[import-untyped]
import pytest

from common.errors import InputError
from data_pipeline.worker_pool import Workers, map_in_order


def square_or_die(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number**2


def test_workers_compute_in_order_and_report_ended_process() -> None:
    workers = Workers(square_or_die, 2)
    assert list(workers.map(range(20))) == [n**2 for n in range(20)]
    with pytest.raises(InputError, match="a process that works on the data was ended from outside"):
        list(workers.map([1, -1, *range(100)]))
    workers.close()


def test_map_in_order_computes_few_pairs_in_this_process() -> None:
    assert list(map_in_order(lambda n: (n, os.getpid()), range(3), 3, 2)) == [(n, os.getpid()) for n in range(3)]


def test_workers_end_with_killed_parent() -> None:
    code = (
        "import os, signal; from data_pipeline.worker_pool import Workers; import psutil\n"
        "if __name__ == '__main__':\n"
        "    workers = Workers(abs, 2)\n"
        "    print(*workers.map(range(4)), *(p.pid for p in psutil.Process().children()), flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    pids = [int(word) for word in done.stdout.split()[4:]]
    assert done.returncode == -signal.SIGKILL
    assert len(pids) >= 2
    until = time.monotonic() + 20
    while any(map(psutil.pid_exists, pids)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(map(psutil.pid_exists, pids))
    assert done.stderr == ""


def test_interrupts_do_not_reach_workers_even_while_they_start() -> None:
    workers = Workers(partial(signal.pthread_sigmask, signal.SIG_BLOCK), 2)
    assert all(signal.SIGINT in blocked for blocked in workers.map([[], []]))
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    workers.close()


def test_ctrl_c_ends_command_and_workers_at_once() -> None:
    """Also while the first worker starts, and although the tasks take a minute."""
    code = (
        "import time; from common.command import run_command; from data_pipeline.worker_pool import map_in_order\n"
        "def main():\n    list(map_in_order(time.sleep, [60] * 9, 10**6, 2))\n"
        "if __name__ == '__main__':\n    run_command(main)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        while len(psutil.Process(process.pid).children()) < 2:  # the resource tracker of Python, and a worker
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        assert process.communicate(timeout=30)[1] == "interrupted\n"
    assert process.returncode == 130
    until = time.monotonic() + 20
    while group_exists(process.pid) and time.monotonic() < until:
        time.sleep(0.02)
    assert not group_exists(process.pid)


def group_exists(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True
