import threading

import pytest

from datastage.batches.ahead import ahead


def test_items_come_in_order():
    assert list(ahead(iter(range(50)))) == list(range(50))


def test_an_error_is_raised_in_its_place():
    def items():
        yield 1
        raise ZeroDivisionError("broke")

    given = ahead(items())
    assert next(given) == 1
    with pytest.raises(ZeroDivisionError, match="broke"):
        next(given)


def test_one_waits_and_one_is_made_and_no_more():
    made = []

    def items():
        for i in range(100):
            made.append(i)
            yield i

    given = ahead(items())
    next(given)
    next(given)
    assert len(made) <= 2 + 1 + 1  # given out, waiting, in the making
    given.close()


def test_stopping_early_ends_the_thread():
    given = ahead(iter(range(10**9)))
    next(given)
    given.close()
    assert not any(thread.name == "datastage-ahead" for thread in threading.enumerate())
