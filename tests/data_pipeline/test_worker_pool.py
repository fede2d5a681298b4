"""Workers compute in order, say when one of them was ended, and end with the process that started them."""

import os
import signal
import subprocess
import sys
import time

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
        "    print(*Workers(abs, 2).map(range(4)), *(p.pid for p in psutil.Process().children()), flush=True)\n"
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
    assert "Traceback" not in done.stderr
