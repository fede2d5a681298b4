"""Stop requests of signals and of the time limit."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from train.stop import SIGNALS, StopRequest


def test_stop_request_restores_signal_handlers_after_its_block() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with StopRequest():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_stop_request_restores_signal_handlers_after_error() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(RuntimeError, match="in the block"), StopRequest():
        raise RuntimeError("in the block")
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_stop_request_in_thread_changes_no_signal_handler() -> None:
    before = [signal.getsignal(number) for number in SIGNALS]

    def request() -> list[object]:
        with StopRequest():
            return [signal.getsignal(number) for number in SIGNALS]

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(request).result() == before
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("number", SIGNALS)
def test_stop_request_records_signal(number: signal.Signals, capsys: pytest.CaptureFixture[str]) -> None:
    with StopRequest() as stop:
        assert stop.asked() == (False, False)
        os.kill(os.getpid(), number)
        assert stop.asked() == (True, False)
    assert stop.number == number
    assert "Stopping after this update" in capsys.readouterr().err


def test_stop_request_raises_keyboard_interrupt_at_second_sigint() -> None:
    with StopRequest():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_stop_request_is_asked_after_time_limit() -> None:
    assert StopRequest(until=time.monotonic() - 1).asked() == (False, True)
    assert StopRequest(until=time.monotonic() + 3600).asked() == (False, False)


@pytest.mark.parametrize(
    ("requests", "reason"), [((0, 0), None), ((1, 0), "signal"), ((0, 2), "time"), ((1, 1), "signal")]
)
def test_ranks_agree_on_stop_reason_from_summed_requests(requests: tuple[int, int], reason: str | None) -> None:
    assert StopRequest.agreed(requests) == reason
