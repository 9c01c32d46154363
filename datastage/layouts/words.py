"""What the names of folders, files and columns say: a split, a task, or nothing; and in which order classes stand."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from datastage.file_names import PICTURE_SUFFIXES, SPLIT_WORDS


def listed(text: str) -> frozenset[str]:
    """Return the words of a text that blanks part."""
    return frozenset(text.split())


PICTURES = PICTURE_SUFFIXES
SOUNDS = frozenset((".wav", ".mp3", ".flac", ".ogg", ".m4a", ".aac", ".aif", ".aiff", ".opus", ".wma"))
FILMS = frozenset((".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"))
TABLES = frozenset((".csv", ".tsv", ".tab"))

SPLITS = SPLIT_WORDS | {
    "trainset": "train", "trainval": "train", "validate": "val", "eval": "val", "evaluation": "val", "valset": "val",
    "validset": "val", "devset": "val", "tests": "test", "testset": "test",
    "pred": "predict", "predict": "predict", "prediction": "predict", "unlabeled": "predict",
    "unlabelled": "predict", "unsup": "predict",
}  # fmt: skip
_NOISE = listed(
    "set dataset data images image imgs img pictures pics photos photo files folder split jpg jpeg png tif tiff bmp "
    "samples resized crops cropped full raw frames input inputs list labels label df meta metadata csv"
)
"""Words beside a split's word that take nothing from it."""
NEUTRAL = listed(
    "images image imgs img pictures pics photos jpg jpeg jpegs jpgs png pngs tif tiff bmp data dataset datasets files "
    "jpegimages pngimages allimages imagefiles leftimg8bit imagedata imgdata"
)
"""Names of folders that say what the files are, and not what they show."""
MASKS = listed(
    "masks annotation annotations annots labels groundtruth gt gtfine gtcoarse trimaps segmentations "
    "segmentationclass segmentationobject xmls bboxes maskimages labelids"
)
"""Names of folders that hold what is drawn about pictures; never classes."""
_MASK_WORDS = MASKS | listed(
    "mask label trimap segmentation seg segs bbox boxes contours instances semantic depth depths labelmaps polygons "
    "gts heatmaps matte mattes alpha xml target targets edges normals flow"
)
"""Words that do so where a folder of pictures lies beside."""
_MASK_BEGINNINGS = ("mask", "masks", "gt", "segmentation", "annotation", "annotations", "ground")
ASIDE = frozenset(("meta", "metadata", "papers", "docs", "models", "logs", "src", "readme"))
"""Names of folders that lie beside the data."""

DRAWN = re.compile(r"(?i)[_-](masks?|seg|segmentation|gt|ground_?truth|labels?|labelids|annotated)([_-]?\d+)?\.\w+$")
"""The end of the name of a picture that is drawn over another: ``x_mask.png`` beside ``x.png``."""
_BEGINS = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_WORD = re.compile(r"[^\W\d_]+|\d+")


@lru_cache(1 << 16)
def words_of(name: str) -> tuple[str, ...]:
    """Part a name into its words, in small letters: at blanks, signs, digits, and where capitals begin."""
    return tuple(word.lower() for word in _WORD.findall(_BEGINS.sub(" ", name)))


@lru_cache(1 << 16)
def split_of(name: str) -> str | None:
    """Return the split that a folder or file of this name holds: ``train``, ``val``, ``test``, ``predict``; else None.

    Its word is a whole word at the start or the end, as in ``test_stg1`` or ``boneage-training-dataset``.
    """
    words = [word for word in words_of(name) if not word.isdigit()]
    if words[:2] == ["public", "test"]:
        return "val"
    while len(words) > 1 and words[-1] in _NOISE:
        words.pop()
    while len(words) > 1 and words[0] in _NOISE:
        del words[0]
    if not words or is_mask(name):
        return None
    return SPLITS.get(words[-1]) or SPLITS.get(words[0])


def is_domain(name: str) -> bool:
    """Whether a folder is a split of one of several domains: ``trainA``, ``testB``."""
    return re.fullmatch(r"(?i:train|test|val)[_-]?[A-D]", name) is not None


@lru_cache(1 << 16)
def is_mask(name: str, *, never_a_class: bool = False) -> bool:
    """Whether a folder of this name holds masks, boxes or labels: ``masks``, ``train_labels``, ``gtFine``."""
    words = [word for word in words_of(name) if not word.isdigit()]
    if "".join(words) in MASKS or never_a_class or not words:
        return "".join(words) in MASKS
    return words[-1] in _MASK_WORDS or words[0] in _MASK_BEGINNINGS


@lru_cache(1 << 16)
def is_neutral(name: str) -> bool:
    """Whether a folder's name says what the files are, not what they show: ``images``, ``NAME_part_1``."""
    letters = [word for word in words_of(name) if not word.isdigit()]
    if letters and "".join(letters) in NEUTRAL:
        return True
    return re.search(r"(?i)(^|[_\- .])(part|batch|chunk|shard|disk|disc|volume|vol)[_\- .]?\d+$", name) is not None


def is_aside(name: str) -> bool:
    """Whether a folder of this name lies beside the data: ``papers``, ``models``, ``Meta``."""
    return "".join(words_of(name)) in ASIDE


def suffix_of(name: str) -> str:
    """Return the suffix of a file's name or path, in small letters; by hand, since pathlib takes ten times as long."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > name.rfind("/") + 1 else ""


def stem_of(path: str) -> str:
    """Return the name of a picture without its folders and its suffix."""
    return path[path.rfind("/") + 1 : path.rfind(".")]


@lru_cache(1 << 16)
def plain(name: str) -> str:
    """Return the name of a column as it is compared."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


def nfc(name: str) -> str:
    """Return a name in the one form of Unicode: macOS writes another than everybody else."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def by_value(words: object) -> list[str]:
    """Sort names of classes: numbers by value, so that 2 comes before 10; other words in their order."""
    names = sorted(set(words))  # type: ignore[call-overload]
    if all(re.fullmatch(r"-?\d{1,4000}", name) for name in names):
        names.sort(key=int)
    return names
