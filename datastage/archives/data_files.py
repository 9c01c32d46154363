"""Data that happens to be a zip or a tar: unpacking would destroy it. Told by name and by content."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import islice

from datastage.archives import formats
from datastage.archives.errors import Fault
from datastage.reader import Reader

_OF_MODELS = "npz npy pt pth ckpt keras safetensors pkl pickle joblib rds rda rdata mar nemo tflite task"
_OF_OFFICES = "docx docm xlsx xlsm xlsb pptx pptm odt ods odp odg vsdx epub kmz 3mf usdz svgz cbz"
_OF_PROGRAMS = "whl egg pyz pex conda jar war aar apk ipa"
SUFFIXES = frozenset(f".{suffix}" for words in (_OF_MODELS, _OF_OFFICES, _OF_PROGRAMS) for suffix in words.split())
# Names of members, all of which are there, and who writes such a zip or tar.
_MEMBERS = {
    "PyTorch": (r"[^/]+/data\.pkl", r"[^/]+/(version|byteorder|\.format_version)"),
    "PyTorch, before 1.0": ("sys_info", "pickle"),
    "Keras": ("config.json", "metadata.json", r"model\.weights\.h5"),
    "Stable-Baselines": ("_stable_baselines3_version", "data"),
    "TorchServe": (r"MAR-INF/MANIFEST\.json",),
    "NeMo": (r"(\./)?model_config\.yaml", r"(\./)?model_weights\.ckpt"),
    "an office program": (r"\[Content_Types\]\.xml", r"_rels/\.rels"),
    "an office program, or a book": ("mimetype", r"META-INF/(manifest|container)\.xml"),
    "Android": (r"AndroidManifest\.xml", r"classes\.dex"),
    "pip": (r"[^/]+\.dist-info/WHEEL", r"[^/]+\.dist-info/RECORD"),
}
# Where the name says that it is an archive, it is one: `jar` packs data too, and people zip maps.
_UNNAMED = {"Java": (r"META-INF/MANIFEST\.MF",), "a map": (r"doc\.kml",)}
# What data begins with: a pickle, arrays, tables, models, pictures, sound, film.
_MAGIC = re.compile(
    rb"\x80[\x02-\x05]|\x89HDF\r\n|\x93NUMPY|PAR1|GGUF|SQLite format 3|Obj\x01|ARROW1|.{4}TFL3|.{8}\{\""
    rb"|\xff\xd8\xff|\x89PNG|GIF8|%PDF|RIFF|OggS|fLaC|ID3|.{4}ftyp",
    re.DOTALL,
)
_MOST_NAMES = 400


def is_data(reader: Reader, form: str | None) -> bool:
    """Tell whether a file is data as it is, whatever it is packed in; `form` is what `formats.sniff` said."""
    stem, suffix = os.path.splitext(reader.name.lower())
    if suffix in SUFFIXES:
        return True
    is_named = suffix in formats.suffixes()
    if form is None:
        # `model.tar` and `model.pth.tar` are what PyTorch's own examples call a pickle.
        inner = os.path.splitext(stem)[1]
        return is_named and (inner in SUFFIXES or _MAGIC.match(reader.read_at(0, 64)) is not None)
    if form not in ("zip", "tar", "tar.gz") or not reader.ranges:
        return False
    if form == "zip" and _MAGIC.match(reader.read_at(0, 64)):
        return True  # a zip behind a picture, or behind a model
    names = list(_names(reader, form))
    if not is_named and names and all(name.endswith(".npy") for name in names):
        return True
    marks = _MEMBERS if is_named else {**_MEMBERS, **_UNNAMED}
    return any(
        all(any(re.fullmatch(pattern, name) for name in names) for pattern in patterns) for patterns in marks.values()
    )


def _names(reader: Reader, form: str) -> Iterator[str]:
    """Give the first names, and the last ones of a zip; of a tar no more than comes with little reading."""
    try:
        if form == "zip":
            from datastage.archives.zip_directory import find_directory

            directory = find_directory(reader)
            for _, entry in islice(directory.entries(), _MOST_NAMES):
                yield entry.raw_name.decode("utf-8", "replace")
            for at in directory.ats[_MOST_NAMES:][-20:]:
                yield directory.entry(at).raw_name.decode("utf-8", "replace")
            return
        n_bytes = 0
        for member in islice(formats.members(form, formats.Source(reader, iter(reader.stream(0)))), 4):
            yield member.name
            n_bytes += member.size
            if n_bytes > 1 << 20:
                return
    except Fault:
        return
