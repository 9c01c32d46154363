from __future__ import annotations

import os
import pickle
import pickletools

import numpy as np
import pytest

from datastage.datasets import pickles
from datastage.errors import IntegrityError
from tests import kaggle_inputs as layouts


class Runs:
    """Runs a command when unpickled, as a hostile file would."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def test_a_batch_of_python_2_is_read():
    batch = pickles.load(layouts.batch_of_python_2(b"title", [3, 4], layouts.pixels(6144, 1), [b"a.png", b"b.png"]))
    assert batch[b"labels"] == [3, 4]
    assert (batch[b"data"].shape, batch[b"data"].data) == ((2, 3072), layouts.pixels(6144, 1))


@pytest.mark.parametrize("protocol", range(5))
def test_a_batch_of_python_3_is_read(protocol):
    data = np.arange(6144, dtype=np.uint8).reshape(2, 3072)
    batch = pickles.load(pickle.dumps({"labels": [1, 2], "data": data}, protocol=protocol))
    assert (batch["data"].shape, batch["data"].data) == ((2, 3072), data.tobytes())


def test_the_made_batch_is_what_python_2_wrote():
    names = {
        f"{arg}" for opcode, arg, _ in pickletools.genops(layouts.batch_of_python_2(b"t", [1], b"x" * 3072, [b"n"]))
        if opcode.name == "GLOBAL"
    }  # fmt: skip
    assert names == {"numpy.core.multiarray _reconstruct", "numpy ndarray", "numpy dtype"}


@pytest.mark.parametrize(
    "hostile",
    [
        Runs(os.system, "touch {canary}"),
        Runs(eval, "open('{canary}', 'w')"),
        Runs(exec, "open('{canary}', 'w')"),
        Runs(getattr, "x", "y"),
        Runs(np.load, "{canary}"),
        Runs(np.fromfile, "{canary}"),
        Runs(open, "{canary}", "w"),
    ],
    ids=["system", "eval", "exec", "getattr", "load", "fromfile", "open"],
)
@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_a_pickle_that_runs_code_is_refused_and_nothing_runs(hostile, protocol, tmp_path):
    canary = tmp_path / "ran"
    function, args = hostile.call
    data = pickle.dumps({"data": Runs(function, *(arg.replace("{canary}", str(canary)) for arg in args))}, protocol)
    with pytest.raises(IntegrityError, match="which no data needs: it was not run"):
        pickles.load(data, "data_batch_1")
    assert not canary.exists()


@pytest.mark.parametrize(
    "text",
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"c__builtin__\neval\n(S'1'\ntR.",
        b"(S'x'\nios\nsystem\n.",
        b"Pid\n.",
        b"cnumpy\ndtype.__class__\n.",
        b"\x80\x04\x8c\x05numpy\x8c\x0fndarray.dumps\x93.",
        b"\x82\x01.",
    ],
    ids=["eval", "python 2", "inst", "persistent", "dotted", "stack global", "extension"],
)
def test_every_way_to_a_name_is_closed(text):
    with pytest.raises(IntegrityError):
        pickles.load(text)


@pytest.mark.parametrize("end", [b")R.", b")\x81.", b"(K\x01tR."], ids=["call", "new", "of a shape"])
def test_an_array_that_is_made_in_another_way_is_not_called_cut_short(end):
    with pytest.raises(IntegrityError, match="makes an array in a way that this dataset does not") as caught:
        pickles.load(b"\x80\x02cnumpy\nndarray\nq\x00" + end)
    assert "Do not open this file with pickle" in str(caught.value)


@pytest.mark.parametrize("dtype", ["O", "f8", "U4", "V8", "i8"])
def test_arrays_of_anything_but_bytes_are_refused(dtype):
    with pytest.raises(IntegrityError, match="which this dataset does not have"):
        pickles.load(pickle.dumps({"data": np.zeros(3, dtype)}, protocol=4))


@pytest.mark.parametrize("cut", [1, 10, 1000])
def test_a_pickle_cut_short_is_said_to_be(cut):
    whole = pickle.dumps({"data": np.zeros((2, 3072), np.uint8)}, protocol=2)
    with pytest.raises(IntegrityError, match="is not a whole pickle"):
        pickles.load(whole[:-cut], "data_batch_1")


@pytest.mark.parametrize("seed", range(200))
def test_no_noise_does_anything_but_fail(seed):
    whole = bytearray(layouts.batch_of_python_2(b"title", [3, 4], b"x" * 100, [b"a.png", b"b.png"]))
    noise = layouts.pixels(8, seed)
    for at, value in zip(noise[:4], noise[4:], strict=True):
        whole[at % len(whole)] = value
    try:
        pickles.load(bytes(whole))
    except IntegrityError:
        pass
