"""Which shards data is: a list in braces, an index, a folder of tars, a single tar of samples; and their parts."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from datastage import sources
from datastage.errors import DatastageError, SpecError, UnavailableError
from datastage.file_names import PICTURE_SUFFIXES, SHARD_WORDS, is_junk_folder, split_folders, split_words
from datastage.layouts.aside import TEST_SHARE, place
from datastage.layouts.words import by_value, is_aside
from datastage.progress import counted, few
from datastage.reader import BytesReader, FileReader, Reader
from datastage.runtime import Runtime
from datastage.shards.index import INDEX, MOST_INDEX_BYTES, ShardIndex, read_index
from datastage.shards.members import Sample, samples_of
from datastage.sources.braces import expanded
from datastage.spec import Spec
from datastage.transfer import Limits, patiently
from datastage.transfer.pieces import pieces_of

HEAD_BYTES = 4 << 20
"""Of the first shard so much is looked at before it comes, and more only where a sample is longer."""
MOST_HEAD_BYTES = 256 << 20
INDEXES_AT_ONCE = 8
WHOLE_SHARDS = 10
"""From so many shards on whole ones are set aside; of fewer, samples by a hash of their keys."""
_NUMBERED = re.compile(r"\d+\.tar$")


@dataclass(frozen=True, slots=True)
class Shard:
    """One shard: where it lies, and what an index says of it."""

    name: str
    spec: Spec
    path: Path | None = None  # if it may be read where it is
    size: int | None = None
    sha256: str | None = None
    samples: int | None = None
    keep: tuple[float, float] | None = None  # from where to where the hashes of keys are of this part, from 0 to 1
    folder: str = ""  # the word for a part that a folder of it has
    classes: tuple[str, ...] | None = None  # what its index calls the numbers of its labels

    @property
    def words(self) -> list[str]:
        """The parts that its name says, or else its folder."""
        return split_words(self.name) or split_words(self.folder)

    def kept(self, samples: Sequence[Sample]) -> list[Sample]:
        """Return the samples that are of this part."""
        if self.keep is None:
            return list(samples)
        low, high = self.keep
        return [sample for sample in samples if low <= place(sample.key, "test") < high]


@dataclass(frozen=True, slots=True)
class ShardSet:
    """The shards of each part, the classes where an index names them, how a person calls all of it, and lines of it."""

    splits: dict[str, tuple[Shard, ...]]
    classes: tuple[str, ...] | None
    name: str
    said: tuple[tuple[str, str], ...] = ()


def find(data: Any, here: Runtime) -> ShardSet | None:
    """Return the shards that `data` is; None if it is something else, which others read."""
    spec = sources.parse(data)
    if spec.scheme == "list":
        return _of_list(spec, here)
    is_index = isinstance(data, str) and data.partition("?")[0].replace("\\", "/").rpartition("/")[2] == INDEX
    return _of_index_at(data, here) if is_index else _of_place(spec, os.fspath(data), here)


def _of_list(spec: Spec, here: Runtime) -> ShardSet:
    texts = expanded(spec.value)
    if odd := next((text for text in texts if not sources.parse(text).file_name.endswith(".tar")), ""):
        raise SpecError(
            f"{sources.parse(odd)} is no shard: shards are uncompressed tars, and their names end with .tar.",
            f"Next: datastage.stage({str(spec)!r}), which brings them as files.",
        )
    folder = _folder_of(texts[0], here)
    shards = [replace(_shard(text, folder), folder=word) for text, word in zip(texts, split_folders(texts))]
    missing = [str(shard.spec) for shard in shards if shard.path is not None and not shard.path.is_file()]
    if missing:
        raise UnavailableError(
            f"Of the {len(shards):,} shards {len(missing):,} are not there: {few(missing, 3)}.",
            "Next: look at the numbers in the braces, and at the folder.",
        )
    beside = {_beside(text, INDEX): shard.path for text, shard in zip(texts, shards)}
    found = {at: _index_beside(at, beside[at], here) for at in list(beside)[:1]}
    rest = list(beside)[1:] if any(found.values()) or shards[0].path is not None else []  # far folders are many trips
    with ThreadPoolExecutor(INDEXES_AT_ONCE) as threads:
        found |= zip(rest, threads.map(lambda at: _index_beside(at, beside[at], here), rest))
    indexes = [index for index in found.values() if index is not None]
    one = indexes[0] if len(indexes) == 1 and len({shard.name for shard in shards}) == len(shards) else None
    places = [_beside(text, INDEX) for text in texts]
    shards = [_known(shard, found.get(at) or _moved(shard, one)) for at, shard in zip(places, shards)]
    apart = dict.fromkeys(at for at, shard in zip(places, shards) if found.get(at) is None and shard.samples is None)
    without = [str(sources.parse(at)) for at in apart]
    said = f"no index at {few(without, 3)}: numbers there are taken for those of the other folders' classes"
    return _set(shards, str(spec), (("Note", said),) if without and any(shard.classes for shard in shards) else ())


def _folder_of(text: str, here: Runtime) -> Path:
    """Return the folder that relative paths like `text` are meant from: this one, or another of the usual places."""
    spec = sources.parse(text)
    if spec.scheme != "relative" or (here.cwd / spec.value).exists():
        return here.cwd
    content = sources.open_spec(spec, here).content
    path = None if isinstance(content, Path | sources.Fetch) else content.local_path
    return here.cwd if path is None else path.parents[len(Path(spec.value).parts) - 1]


def _shard(text: str, folder: Path) -> Shard:
    spec = sources.parse(text)
    is_path = spec.scheme in ("file", "relative")
    return Shard(
        spec.file_name, spec, Path(os.path.abspath(folder / os.path.expanduser(spec.value))) if is_path else None
    )


def _beside(text: str, name: str) -> str:
    """Return the address of the file `name` in the same folder; what stands behind a ``?`` is kept."""
    start, question, query = text.partition("?")
    return f"{start.rpartition('/')[0] or '.'}/{name}{question}{query}"


def _index_beside(text: str, path: Path | None, here: Runtime) -> ShardIndex | None:
    """Return the index at `text`, beside a shard; an index is optional, so that none, or one of others, is no error."""
    with suppress(DatastageError, OSError):
        return _index_in(path.parent) if path is not None else read_index(_all_of(text, here))
    return None


def _moved(shard: Shard, index: ShardIndex | None) -> ShardIndex | None:
    """Return the index of another folder, if it lists the very shard: one of this name and length."""
    entry = None if index is None or shard.path is None else index.by_name.get(shard.name)
    return index if entry is not None and shard.path is not None and shard.path.stat().st_size == entry.size else None


def _known(shard: Shard, index: ShardIndex | None) -> Shard:
    """Add what the index of its folder knows of a shard."""
    entry = None if index is None else index.by_name.get(shard.name)
    if index is None or entry is None:
        return shard
    return replace(shard, size=entry.size, sha256=entry.sha256, samples=entry.samples, classes=index.classes)


def _index_in(folder: Path) -> ShardIndex | None:
    return read_index((folder / INDEX).read_bytes()) if (folder / INDEX).is_file() else None


def _all_of(text: str, here: Runtime) -> bytes:
    with closing(sources.open_spec(sources.parse(text), here).reader) as reader:
        return head_of(reader, MOST_INDEX_BYTES)


def _of_index_at(text: str, here: Runtime) -> ShardSet | None:
    spec = sources.parse(text)
    index = read_index(_all_of(text, here))
    base = _folder_of(text, here)
    shards = []
    for entry in index.shards:
        name = urllib.parse.quote(entry.name) if spec.scheme == "http" else entry.name
        shard = replace(_shard(_beside(text.replace("\\", "/"), name), base), name=entry.name)
        shards.append(_known(shard, index))
    return _set(shards, str(spec))


def _of_place(spec: Spec, text: str, here: Runtime) -> ShardSet | None:
    is_near = spec.scheme in ("file", "relative", "drive", "kaggle")
    if spec.scheme == "bucket" and text.endswith("/"):
        try:
            return _of_index_at(text + INDEX, here)
        except UnavailableError:
            return None
    if not is_near and not (spec.scheme in ("http", "bucket") and spec.file_name.endswith(".tar")):
        return None
    try:
        found = sources.open_spec(spec, here)
    except DatastageError:
        if is_near:
            return None  # whoever stages it says why
        raise
    if isinstance(found.content, Path):
        return _of_folder(found.content, only_index=spec.scheme == "drive") if is_near else None
    if isinstance(found.content, sources.Fetch):
        return None
    with closing(found.content) as reader:
        if not reader.name.endswith(".tar") or not _holds_samples(reader):
            return None  # a tar of folders of pictures
        path = reader.local_path if found.in_place else None
    index = _index_beside(_beside(text, INDEX), path, here) if path is not None or not is_near else None
    return _set([_known(Shard(reader.name, spec, path), index)], reader.name)


def _of_folder(folder: Path, *, only_index: bool = False) -> ShardSet | None:
    """Return the tars in a folder, and in its folders train, val and test, if they hold samples."""
    try:
        with suppress(DatastageError):  # an index of somebody else's
            if (index := _index_in(folder)) is not None and index.shards:
                listed = [_known(_in(folder, shard.name), index) for shard in index.shards]
                if only_index:
                    return _set(listed, folder.name)
                deep = [f"{name}/{one}" for name in _parts_in(folder) for one in _tars(folder / name)]
                more = sorted({*_tars(folder), *deep} - index.by_name.keys())
                left = [("Left out", f"{few(more, 3)}: {INDEX} does not list {'it' if len(more) == 1 else 'them'}")]
                return _set(listed, folder.name, left[: len(more)] + _pictures_left(_class_folders(folder, 1)))
        if only_index:
            return None
        words = _parts_in(folder)
        inner = [replace(_in(folder, f"{name}/{one}"), folder=name) for name in words for one in _tars(folder / name)]
        unread = [one for name in ("", *words) for one in _tars(folder / name, readable=False)]
        tops = [_in(folder, name) for name in _tars(folder)]
    except OSError:
        return None  # whoever reads it says why
    parts = [(split_words(shard.folder or shard.name) or [""])[-1] for shard in (*tops, *inner)]
    found: dict[str, list[Shard]] = {}
    for shard, part in zip((*tops, *inner), parts):
        found.setdefault(part, []).append(shard)
    some = {one.path: one for ones in found.values() for one in (ones[0], ones[-1])}  # a test part may lack labels
    are_told = sum(bool(one.words or _NUMBERED.search(one.name)) for one in (*tops, *inner)) > 1
    try:
        if not any(map(_file_holds_samples, some)):
            return None
    except DatastageError:
        if are_told or len(_class_folders(folder)) < 2:
            raise
        return None  # what is no shard lies beside the data
    if len(classes := _class_folders(folder, 1 if are_told else 2)) > 1 and not are_told:
        raise _which(folder, classes, [*tops, *inner])
    odd = found.get("", []) if inner and "train" in found else []
    if lost := next((shard for shard in odd if _file_holds_samples(shard.path)), None):
        raise SpecError(
            f"{folder.name} holds shards of parts in folders, and beside them {lost.name}, whose name says no part.",
            "Next: name it after its part, as in train-000000.tar, or move it to another folder.",
        )
    left = [("Left out", f"{few((shard.name for shard in odd), 3)}: no samples of pictures with labels")][: len(odd)]
    left += _pictures_left(classes if are_told else [])
    left += [("Left out", f"{few(unread, 3)}: no file, or one that may not be read")][: len(unread)]
    used = [shard for shard, part in zip((*tops, *inner), parts) if part or not odd]
    return _set(used, folder.name, left, inner=True)


def _parts_in(folder: Path) -> list[str]:
    """Return the folders in one that are called by the word for a part."""
    return [name for name in sorted(os.listdir(folder)) if name.lower() in SHARD_WORDS and (folder / name).is_dir()]


def _pictures_left(classes: Sequence[str]) -> list[tuple[str, str]]:
    text = f"the pictures in folders beside the shards: {', '.join(classes)}{', ...' if len(classes) > 1 else ''}"
    return [("Left out", text)][: len(classes)]


def _which(folder: Path, classes: Sequence[str], shards: Sequence[Shard]) -> SpecError:
    """Return the question whether class folders are trained on, or what shards lie beside them."""
    held = []
    for shard in shards:
        with suppress(DatastageError):
            held += [shard] if shard.words or _file_holds_samples(shard.path) else []
    names = [os.path.relpath(shard.path or "", folder) for shard in held]
    step = os.path.join(folder, names[0] if len(names) == 1 else f"{{{','.join(names)}}}")
    move = f"move {few((one.name for one in shards), 3)} elsewhere"
    is_train = any(shard.words[-1:] in ([], ["train"]) for shard in held) and not re.search("[{},]", "".join(names))
    return SpecError(
        f"{folder.name} holds pictures in folders ({', '.join(classes)}, ...), and beside them {few(names, 3)} with "
        "samples: which of them is trained on, only you know.",
        *([f"Of the folders: {move}."] if is_train else []),
        f"Next: datastage.loaders({step!r}, batch_size=64), if it is what the tars hold."
        if is_train
        else f"Next: {move}.",
    )


def _class_folders(folder: Path, least: int = 2) -> list[str]:
    """Return the first two folders below that hold so many pictures, but for what lies beside data."""

    def found() -> Iterator[str]:
        for at, folders, names in os.walk(folder):
            folders[:] = sorted(name for name in folders if not is_aside(name) and not is_junk_folder(name))
            suffixes = (os.path.splitext(name)[1].lower() for name in names if name[0] != ".")
            pictures = islice((one for one in suffixes if one in PICTURE_SUFFIXES), least)
            if at != str(folder) and len(list(pictures)) == least:
                yield os.path.relpath(at, folder)

    return list(islice(found(), 2))


def _tars(folder: Path, *, readable: bool = True) -> list[str]:
    """Return the names of the tars in a folder, in order; or of those that are no file or may not be read."""
    return sorted(
        name
        for name in os.listdir(folder)
        if name.endswith(".tar") and not name.startswith(".") and not (folder / name).is_dir()
        if ((folder / name).is_file() and os.access(folder / name, os.R_OK)) is readable
    )


def _file_holds_samples(path: Path | None) -> bool:
    with FileReader(path or "") as reader:
        return _holds_samples(reader)


def _in(folder: Path, name: str) -> Shard:
    path = folder / name
    return Shard(path.name, sources.parse(path), path)


def _holds_samples(reader: Reader) -> bool:
    """Whether the first samples of a tar have a label beside their picture; a tar of class folders has not."""
    samples = look(reader)[1]
    if any(sample.picture() and _has_label(sample) for sample in samples[:20]):
        return True
    pictured = {sample.key for sample in samples if sample.picture()}  # labels behind all pictures are said to be so
    return any(sample.key in pictured and "cls" in sample.parts for sample in samples if not sample.picture())


def _has_label(sample: Sample) -> bool:
    # Tables of a picture's own, beside it in a folder, are annotations of another kind.
    return "cls" in sample.parts or ("/" not in sample.key and bool({"json", "txt"} & set(sample.parts)))


def look(reader: Reader) -> tuple[bytes, list[Sample]]:
    """Return the beginning of a shard, and the samples that lie in it whole."""
    n = HEAD_BYTES
    while True:
        head = head_of(reader, n)
        if head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ\0")):
            raise SpecError(
                f"{reader.name} is compressed, and shards are plain tars.",
                "Next: unpack it (gunzip, zstd -d, bunzip2, unxz), or name it .tar.gz or the like if it is no shard.",
            )
        in_head = partial(samples_of, BytesReader(head).read_at, len(head), reader.name)
        samples = list(in_head(whole=False))
        if not samples and len(head) < n:  # all of it is here: one sample, or a fault that is said
            return head, list(in_head())
        if samples or n >= MOST_HEAD_BYTES:
            return head, samples
        n *= 4


def head_of(reader: Reader, n: int) -> bytes:
    """Return the first bytes of a reader, at most `n`; a line that is cut is taken up again."""
    made = bytearray()
    n = n if reader.size is None else min(n, reader.size)

    def more() -> None:
        if not reader.ranges:
            made.clear()
        with closing(pieces_of(reader)(len(made), n - len(made) if reader.ranges else None)) as pieces:
            for piece in pieces:
                made.extend(piece)
                if len(made) >= n:
                    break

    patiently(more, Limits())
    return bytes(made[:n])


def _set(shards: list[Shard], name: str, said: Sequence[tuple[str, str]] = (), *, inner: bool = False) -> ShardSet:
    """Part the shards by their names, and say what those leave open."""
    splits: dict[str, list[Shard]] = {}
    for shard in shards:
        words = (inner and split_words(shard.folder)) or shard.words or ["train"]
        splits.setdefault(words[-1], []).append(shard)
    lines = list(said)
    if len(splits) > 1:
        parts = ", ".join(f"{split} {counted(len(ones), 'shard')}" for split, ones in splits.items())
        lines.append(("Parts", f"{parts}, as their names{' or folders' if any(s.folder for s in shards) else ''} say"))
    odd = [shard.name for shard in shards if not shard.words]
    if odd and len(odd) < len(shards):
        lines.append(("Note", f"the names of {few(odd, 3)} say no part: they are trained on"))
    if two := [shard.name for shard in shards if len(set(split_words(shard.name))) > 1]:
        lines.append(("Note", f"{few(two, 3)}: of the words for parts the last one counts"))
    lists = list(dict.fromkeys(shard.classes for shard in shards if shard.classes is not None))
    classes = tuple(by_value({one for names in lists for one in names})) if len(lists) > 1 else next(iter(lists), None)
    return ShardSet({split: tuple(ones) for split, ones in splits.items()}, classes, name, tuple(lines))


def parted(found: ShardSet, *, val: Any = None, test: Any = None) -> tuple[ShardSet, list[str]]:
    """Apply ``val=`` and ``test=``, and say it; shards of one part alone, whichever it is, are there to train on."""
    splits, said = dict(found.splits), []
    only = next(iter(splits)) if len(splits) == 1 else ""
    if only not in ("", "train"):
        splits = {"train": splits[only]}
        if test is None:
            test = 0
            said.append(
                f"Set aside nothing: shards of {only} alone are trained on, whole (test={TEST_SHARE} sets some aside)"
            )
    if "train" not in splits:
        raise SpecError(f"There are shards of {' and '.join(splits)}, and none to train on.", "Next: add those.")
    aside = {}
    for name, share in (("test", test), ("val", val)):
        if isinstance(share, str | bool) or (share is not None and not 0 <= share < 1):
            raise SpecError(
                f"{name}={share!r}: of shards a share can be set aside, such as {name}=0.1.",
                "Next: a share; or name the shards after their parts, as in train-000000.tar and val-000000.tar.",
            )
        if name in splits and share == 0 and share is not None:
            del splits[name]
        elif name not in splits and (share or (name == "test" and share is None)):
            aside[name] = TEST_SHARE if share is None else share
    if aside:
        _set_aside(splits, aside)
        parts = " and ".join(f"{round(100 * share)} % as {name}" for name, share in aside.items())
        few = len(found.splits[only or "train"]) < WHOLE_SHARDS
        how = f"{'samples' if few else 'whole shards'}, the same ones each time"
        zero = " (test=0 sets none aside)" if "test" in aside and test is None else ""
        said.append(f"Set aside {parts}: {how}{zero}")
    order = [name for name in ("train", "val", "test", "predict") if name in splits]
    return replace(found, splits={name: splits[name] for name in order}), said


def _set_aside(splits: dict[str, tuple[Shard, ...]], aside: dict[str, float]) -> None:
    if sum(aside.values()) >= 1:
        raise SpecError("val= and test= leave nothing to train on.", "Next: smaller shares.")
    train, low = splits["train"], 0.0
    if len(train) < WHOLE_SHARDS:
        for name, share in aside.items():
            splits[name] = tuple(replace(shard, keep=(low, low + share), samples=None) for shard in train)
            low += share
        splits["train"] = tuple(replace(shard, keep=(low, 1.0), samples=None) for shard in train)
        return
    unlike = len({shard.name for shard in train}) == len(train)  # shards of several folders may be of one name
    names = [shard.name if unlike else "/".join(shard.spec.value.partition("?")[0].split("/")[-2:]) for shard in train]
    drawn = sorted(range(len(train)), key=lambda k: (place(names[k], "test"), names[k]))
    for name, share in aside.items():
        count = max(1, round(share * len(train)))
        taken, drawn = set(drawn[:count]), drawn[count:]
        splits[name] = tuple(shard for k, shard in enumerate(train) if k in taken)
    splits["train"] = tuple(train[k] for k in sorted(drawn))
