import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import pytest

from datastage.batches.prefetch import Threads, prefetch


def test_items_come_in_order():
    assert list(prefetch(iter(range(50)))) == list(range(50))


def test_an_error_is_raised_in_its_place():
    def items():
        yield 1
        raise ZeroDivisionError("broke")

    given = prefetch(items())
    assert next(given) == 1
    with pytest.raises(ZeroDivisionError, match="broke"):
        next(given)


def test_one_waits_and_one_is_made_and_no_more():
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i

    given = prefetch(items())
    next(given)
    next(given)
    assert len(made) <= 2 + 1 + 1  # given out, waiting, in the making
    given.close()


def test_stopping_early_ends_the_thread():
    given = prefetch(iter(range(10**9)))
    next(given)
    given.close()
    assert not any(thread.name == "datastage-ahead" for thread in threading.enumerate())


@pytest.mark.parametrize(
    "work",
    [
        "pool = prefetch.Threads(2, 'slow'); done = [pool.submit(time.sleep, 600) for _ in range(9)]",
        "running = prefetch.prefetch(time.sleep(i * 600) for i in range(3)); next(running)",
        "running = prefetch.prefetch(time.sleep(i * 600) for i in range(3)); next(running); sys.running = running",
    ],
    ids=["pieces", "a batch", "a batch that nobody closes"],
)
def test_a_process_ends_whatever_its_threads_wait_for(work):
    begin = "import sys, time; from datastage.batches import prefetch; prefetch.EXIT_S = prefetch.LEAVE_S = 0.3;"
    end = "; time.sleep(0.1); sys.exit(7)"
    ended = subprocess.run([sys.executable, "-c", begin + work + end], timeout=200, cwd=Path(__file__).parents[2])
    assert ended.returncode == 7


def test_pieces_are_done_by_as_many_threads_as_asked_for_and_errors_come_with_their_piece():
    pool, names, both = Threads(2, "few"), set(), threading.Barrier(2, timeout=120)

    def piece(i):
        both.wait()
        names.add(threading.current_thread().name)
        return 10 // i

    made = [pool.submit(piece, i) for i in (1, 2, 0, 5)]
    assert [made[i].result(20) for i in (0, 1, 3)] == [10, 5, 2]
    with pytest.raises(ZeroDivisionError):
        made[2].result(20)
    assert names == {"few-0", "few-1"}


def test_threads_end_with_what_they_belong_to():
    pool = Threads(3, "passing")
    pool.submit(int).result(20)
    del pool
    gc.collect()
    until = time.monotonic() + 20
    while any(thread.name.startswith("passing") for thread in threading.enumerate()) and time.monotonic() < until:
        time.sleep(0.01)
    assert not any(thread.name.startswith("passing") for thread in threading.enumerate())


def test_pieces_that_were_cancelled_are_not_kept_alive():
    pool, busy, owner = Threads(1, "held"), threading.Event(), type("Owner", (), {"work": lambda self: None})()
    gone = weakref.ref(owner)
    first = pool.submit(busy.wait, 20)
    assert pool.submit(owner.work).cancel()
    del owner
    busy.set()
    first.result(20)
    until = time.monotonic() + 20
    while gone() is not None and time.monotonic() < until:
        time.sleep(0.01)
    assert gone() is None


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process")
def test_a_forked_process_has_threads_too():
    pool = Threads(2, "forked")
    assert pool.submit(int, "7").result(20) == 7
    child = os.fork()
    if not child:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(30)  # ends a process that waits for threads that it has not
            os._exit(0 if pool.submit(int, "8").result() == 8 else 1)
        finally:
            os._exit(2)  # whatever was raised: the tests are not gone on with here
    assert os.waitpid(child, 0)[1] == 0
    assert pool.submit(int, "9").result(20) == 9
