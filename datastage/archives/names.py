"""Names: which encoding they are in, what is junk, what a pattern picks, which top folder may go.

Here: pure functions of names. Not here: whether a name is safe (`safety`).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterable, Sequence

# In the order in which they win a tie.
CANDIDATES = ("cp437", "gbk", "cp932", "cp949", "big5", "cp866")
PUBLIC = {"cp932": "shift_jis", "cp949": "euc_kr"}
_SPLIT_WORDS = frozenset(
    [
        "train",
        "training",
        "val",
        "valid",
        "validation",
        "dev",
        "test",
        "testing",
        "trainval",
        "images",
        "labels",
        "annotations",
    ]
)


def junk(path: str) -> str | None:
    """Return the kind of junk that a path is, such as ``"__MACOSX"``; None for what is data."""
    if path.startswith("__MACOSX/") or path == "__MACOSX" or "/__MACOSX/" in path:
        return "__MACOSX"
    leaf = path[path.rfind("/") + 1 :]
    if leaf in (".DS_Store", "Thumbs.db", "desktop.ini"):
        return leaf
    if leaf.startswith("._") and len(leaf) > 2:
        return "._*"
    return None


def chooser(patterns: Sequence[str] | None) -> Callable[[str], bool] | None:
    """Return a test of paths for shell patterns; one that names a folder takes all below it. None takes everything."""
    if patterns is None:
        return None
    tests = []
    for pattern in patterns:
        pattern = pattern.strip("/")
        pattern = pattern[2:] if pattern.startswith("./") else pattern
        tests.append(fnmatch.translate(pattern))
        tests.append(fnmatch.translate(pattern + "/*"))
    match = re.compile("|".join(tests) or r"(?!)").match
    return lambda path: match(path) is not None


def top_to_strip(tops: Iterable[str], strip: bool | str) -> str | None:
    """Return the top folder to take off, if there is just one and it may go.

    Parameters
    ----------
    tops : iterable of str
        The names at the top, of which the sole one must be a folder.
    strip : bool or str
        True for any folder; a name for a folder that bears it, and none that names a split, such as ``train``.
    """
    found = list(tops)
    if not strip or len(found) != 1:
        return None
    top = found[0]
    if isinstance(strip, str) and (top != strip or top.lower() in _SPLIT_WORDS):
        return None
    return top


def guess_encoding(names: Sequence[bytes]) -> str:
    """Guess the encoding of the names of one archive, all by the same hand, none marked.

    UTF-8 if all are; else the candidate under which they read most like text: letters and syllables that are in use,
    against box drawings, rare ideographs and half of a pair. cp437, which the format names, if nothing reads better.

    Parameters
    ----------
    names : sequence of bytes
        The names that are not ASCII.
    """
    joined = b"\n".join(names)
    try:
        joined.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError:
        pass
    best, best_score = "cp437", 0.0
    for encoding in CANDIDATES:
        try:
            text = joined.decode(encoding)
        except UnicodeDecodeError:
            continue
        score = _SCORES[encoding](text)
        if score > best_score + 1e-9:
            best, best_score = encoding, score
    return PUBLIC.get(best, best)


def _beyond_ascii(text: str) -> list[str]:
    return [c for c in text if ord(c) > 127]


def _western(text: str) -> float:
    """Score accented letters amid plain ones: few to a word."""
    odd = _beyond_ascii(text)
    good = sum(c in "äöüÄÖÜßéèêëàâáåçÇñÑîïìíôòóûùúÿÉæÆÅø" for c in odd)
    plain = sum(c.isascii() and c.isalpha() for c in text)
    share = good / len(odd)
    # Where most letters are accented, it is another script.
    dense = len(odd) / max(1, plain + len(odd))
    return share * (1.0 if dense < 0.4 else 0.35) - (1 - share)


def _cyrillic(text: str) -> float:
    odd = _beyond_ascii(text)
    good = sum("\u0410" <= c <= "\u044f" or c in "Ёё" for c in odd)
    small = sum("\u0430" <= c <= "\u044f" for c in odd)
    return 0.9 * good / len(odd) - (1 - good / len(odd)) - (0.3 if small < good / 2 else 0)


def _chinese_simple(text: str) -> float:
    odd = _beyond_ascii(text)
    good = 0.0
    for c in odd:
        pair = c.encode("gbk", "replace")
        if len(pair) == 2 and 0xB0 <= pair[0] <= 0xD7 and pair[1] >= 0xA1:
            good += 1  # level 1 of GB 2312: the 3,755 ideographs in common use
        elif len(pair) == 2 and 0xD8 <= pair[0] <= 0xF7 and pair[1] >= 0xA1:
            good += 0.2
        elif "\u3000" <= c <= "\u301f" or "\uff00" <= c <= "\uff5e":
            good += 0.6
        elif "\u3040" <= c <= "\u30ff":
            good += 0.3
        else:
            good -= 0.5
    return 0.86 * good / len(odd)


def _chinese_full(text: str) -> float:
    odd = _beyond_ascii(text)
    good = 0.0
    for c in odd:
        pair = c.encode("big5", "replace")
        if len(pair) == 2 and 0xA4 <= pair[0] <= 0xC6:
            good += 1  # level 1 of Big5: the 5,401 in common use
        elif "\u3000" <= c <= "\u301f" or "\uff00" <= c <= "\uff5e":
            good += 0.6
        else:
            good -= 0.3
    return 0.84 * good / len(odd)


def _japanese(text: str) -> float:
    odd = _beyond_ascii(text)
    kana = sum("\u3041" <= c <= "\u30fe" for c in odd)
    half_kana = sum("\uff61" <= c <= "\uff9f" for c in odd)
    good = 0.0
    for c in odd:
        pair = c.encode("cp932", "replace")
        if "\u3041" <= c <= "\u30fe":
            good += 1
        elif "\uff61" <= c <= "\uff9f":
            good -= 0.4  # what any other double-byte encoding turns into
        elif len(pair) == 2 and 0x88 <= pair[0] <= 0x97:
            good += 0.9  # level 1 of JIS X 0208
        elif "\u3000" <= c <= "\u301f" or "\uff00" <= c <= "\uff5e":
            good += 0.6
        else:
            good -= 0.3
    score = 0.8 * good / len(odd)
    return score + (0.25 if kana >= len(odd) / 5 and not half_kana else 0)


def _korean(text: str) -> float:
    odd = _beyond_ascii(text)
    good = 0.0
    for c in odd:
        pair = c.encode("cp949", "replace")
        if len(pair) == 2 and 0xB0 <= pair[0] <= 0xC8 and pair[1] >= 0xA1:
            good += 1  # the 2,350 syllables of KS X 1001
        else:
            good -= 0.4
    # GBK's commonest ideographs lie where these syllables do: names that are syllables to the last are Korean.
    return 0.97 * good / len(odd) if good == len(odd) else 0.7 * good / len(odd)


_SCORES: dict[str, Callable[[str], float]] = {
    "cp437": _western,
    "gbk": _chinese_simple,
    "cp932": _japanese,
    "cp949": _korean,
    "big5": _chinese_full,
    "cp866": _cyrillic,
}
