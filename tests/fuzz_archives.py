"""Fuzz the unpacker over every format, for a given time: ``python tests/fuzz_archives.py --seconds 60``.

With atheris installed the mutations are guided by coverage; without it they are random ones of small good archives.
An input is a finding when unpacking does anything but give files, folders and links inside the folder, or raise an
error of ours and leave nothing. It is written to ``fuzz-finding.bin``.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import lzma
import os
import random
import shutil
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]

from archives.made import tar_of, zip_link, zip_of  # noqa: E402

from datastage.archives import unpack  # noqa: E402
from datastage.errors import DatastageError  # noqa: E402
from datastage.reader import BytesReader  # noqa: E402

FILES = {"a.txt": b"alpha " * 40, "d/b.bin": bytes(range(256)), "d/\u732b": b"", "e/": b""}
TAR = tar_of(
    [("d", None), ("d/f", b"1" * 700), ("l", tarfile.SYMTYPE, "d/f"), ("h", tarfile.LNKTYPE, "d/f"), ("n" * 150, b"x")]
)


def seeds() -> list[bytes]:
    """Return one small good archive of each kind."""
    found = [zip_of(FILES), zip_link("l", "a.txt", before={"a.txt": b"1"})]
    found += [zip_of(FILES, method=method) for method in (zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)]
    found += [
        TAR,
        gzip.compress(TAR),
        bz2.compress(TAR),
        lzma.compress(TAR),
        tar_of([("x" * 200, b"1")], form=tarfile.GNU_FORMAT),
    ]
    found += [gzip.compress(b"1,2\n" * 50), bz2.compress(b"1,2\n" * 50), lzma.compress(b"1,2\n" * 50)]
    try:
        import zstandard

        found.append(zstandard.compress(TAR))
    except ImportError:
        pass
    return found


def judge(data: bytes, base: str) -> str | None:
    """Unpack `data`; return what is wrong with the outcome, or None."""
    root = os.path.join(base, "to")
    shutil.rmtree(root, ignore_errors=True)
    os.mkdir(root)
    try:
        unpack(BytesReader(data, "fuzzed"), Path(root), free_bytes=64 << 20, workers=2, nested=len(data) % 3 == 0)
    except DatastageError as error:
        str(error)
        return f"left something after: {error}" if os.listdir(root) else _beside(base)
    except Exception as error:
        return f"raised {error!r}"
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            if not (os.path.isfile(path) or os.path.isdir(path) or os.path.islink(path)):
                return f"made something odd: {path!r}"
            real = os.path.realpath(path)
            if real != os.path.realpath(root) and not real.startswith(os.path.realpath(root) + os.sep):
                return f"leads outside: {path!r}"
    return _beside(base)


def _beside(base: str) -> str | None:
    beside = os.listdir(base)
    return None if beside == ["to"] else f"made something beside the folder: {beside}"


def mutated(data: bytes, dice: random.Random) -> bytes:
    """Return `data` with a few changes of the kinds that parsers trip over."""
    out = bytearray(data)
    for _ in range(dice.choice((1, 1, 2, 4, 9))):
        if not out:
            break
        at = dice.randrange(len(out))
        kind = dice.randrange(7)
        if kind == 0:
            out[at] ^= 1 << dice.randrange(8)
        elif kind == 1:
            out[at : at + 4] = dice.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"../\0", b"/tmp", b"\x01\0\0\0"))
        elif kind == 2:
            del out[at : at + dice.randrange(1, 40)]
        elif kind == 3:
            out[at:at] = dice.randbytes(dice.randrange(1, 20))
        elif kind == 4:
            begin = dice.randrange(len(out))
            out[at:at] = out[begin : begin + dice.randrange(1, 600)]
        elif kind == 5:
            del out[at:]
        else:
            out[at] = dice.randrange(256)
    return bytes(out)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as base:

        def one(data: bytes) -> None:
            wrong = judge(data, base)
            if wrong is not None:
                Path("fuzz-finding.bin").write_bytes(data)
                raise AssertionError(f"{wrong}; the input is in fuzz-finding.bin")

        try:
            import atheris
        except ImportError:
            return _plain(one, args.seconds, args.seed if args.seed is not None else random.randrange(1 << 32))
        corpus = Path(tempfile.mkdtemp())
        for nth, data in enumerate(seeds()):
            (corpus / str(nth)).write_bytes(data)
        atheris.instrument_all()
        atheris.Setup([sys.argv[0], str(corpus), f"-max_total_time={int(args.seconds)}", "-max_len=20000"], one)
        atheris.Fuzz()
    return 0


def _plain(one, seconds: float, seed: int) -> int:
    dice = random.Random(seed)
    good = seeds()
    n, ends = 0, time.monotonic() + seconds
    while time.monotonic() < ends:
        one(mutated(dice.choice(good), dice))
        n += 1
    print(f"{n:,} inputs in {seconds:.0f} s, no finding (seed {seed}, without atheris)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
