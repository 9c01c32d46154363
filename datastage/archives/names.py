"""Names in archives: the encoding they are in, what a pattern of `members=` picks."""

from __future__ import annotations

import codecs
import fnmatch
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence, Set
from functools import partial

from datastage.errors import SpecError

_PART = re.compile(r"(?i).*(\.z\d\d+|\.(zip|7z|rar|tar|t?gz|tgz|bz2|xz|zst)\.?\d\d+|\.part\d+\.rar|\.[rs]\d\d)")


def is_part(name: str) -> bool:
    """Tell whether a name is surely that of one part of an archive in several."""
    return _PART.fullmatch(name) is not None


def chooser(patterns: Sequence[str] | None) -> Callable[[str], bool] | None:
    """Return a test of paths for shell patterns; one that names a folder takes all below it. None takes everything."""
    if patterns is None:
        return None
    tests = []
    for pattern in patterns:
        pattern = plain(pattern)
        tests.append(fnmatch.translate(pattern))
        tests.append(fnmatch.translate(pattern + "/*"))
    match = re.compile("|".join(tests) or r"(?!)").match
    return lambda path: match(path) is not None


def above_wildcards(pattern: str) -> str | None:
    """Return the folder that a pattern names before its first wildcard, with its slash; None where it has none."""
    literal = re.split(r"[*?[]", pattern, maxsplit=1)
    return literal[0][: literal[0].rfind("/") + 1] if len(literal) > 1 else None


def plain(pattern: str) -> str:
    """Return a pattern as paths in archives are written."""
    return pattern.strip("/").removeprefix("./")


# The letters of each language beyond ASCII, commonest first where that matters, and the encodings that its machines
# used, in the order in which they win a tie. The order of languages breaks ties too.
_WESTERN = ("cp437", "cp850", "cp1252")
_CENTRAL = ("cp852", "cp1250", "iso8859_2")
_RUSSIAN = ("cp866", "cp1251", "koi8_r")
_LATIN = {
    "áéíóúñü¿¡ºª": _WESTERN, "ãõçáéíóúâêôàüºª": _WESTERN, "éèêëàâçîïôûùüœæÿ": _WESTERN, "äöüßé": _WESTERN,
    "àèéìòù": _WESTERN, "åäöé": _WESTERN, "æøåéö": _WESTERN, "ëïéèóöü": _WESTERN, "áðéíóúýþæö": _WESTERN,
    "àçèéíïóòúü·": _WESTERN, "äöõüšž": ("cp1252",), "çğıöşüâîûi̇": ("cp857", "cp1254"),
    "ąćęłńóśźż": _CENTRAL, "áčďéěíňóřšťúůýžäľĺôŕ": _CENTRAL, "áéíóöőúüű": _CENTRAL, "čćđšž": _CENTRAL,
    "ăâîşţșț": _CENTRAL,
}  # fmt: skip
_OTHER = {
    "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё": _RUSSIAN,
    "оаниврітекслдпмуьязгбчйхжїшюєцщфґ": ("cp1251",),
    "αοιετσνηυρπκμλςωάίόέήύώδγχθφβξζψϊϋΐΰ": ("cp737", "cp1253"),
}
# Between alphabets that fit alike: letters beyond ASCII by how common they are, and places where a letter never stands.
_COMMONEST = "éáíóçãäöüåøñàèêúâæßôõùìòőąłżęčšžřěůğışćńśźűëïîûœýđðþÿ"
_NEVER = re.compile(
    r"õ(?!e)|(?<![aeiouyäöüâ])ß|ß[bcdfghjklmnpqrsvwxz]|ñ(?![aeiouyáéíóúü])|[ìù](?=\w)|[ae]á|á[ae]|ÿ|œ(?![uit])"
    r"|[^\x00-\x7f]([][@\\^`{|}~])", re.IGNORECASE
)  # fmt: skip
# Of East Asian encodings: a language's commonest characters, and the lead bytes of those in common use.
_EASTERN: tuple[tuple[str, int, int, str], ...] = (
    ("gbk", 0xB0, 0xD7, "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工"
     "数据训练测试验集图片像样本标签猫狗文件新建夹类学习资料名称照结果"),
    ("shift_jis", 0x88, 0x97, "のにはをたがでてとしれさいるなんスデータトンル日本語年人一画像学習猫犬写真新規"),
    ("euc_jp", 0xB0, 0xCF, "のにはをたがでてとしれさいるなんスデータトンル日本語年人一画像学習猫犬写真新規"),
    ("euc_kr", 0xB0, 0xC8, "이다는에의가을를한하고지사기로도리인자데터학습시험개양제대일전정세트폴더파그림원강아새"),
    ("big5", 0xA4, 0xC6, "的一是在不了有和人這中大為上個國我以要他時來用們生到作地於出就分對成會可主發年動同工"
     "數據訓練測試驗集圖片像樣本標籤貓狗檔案新增資料夾類學習名稱照結果"),
)  # fmt: skip


# Behind those in common use stand the other characters of a standard.
_LAST_LEAD = {"gb18030": 0xF7, "cp932": 0xEA, "euc_jp": 0xF4, "cp949": 0xC8, "big5": 0xF9}
_LEAST_SCORE = 0.4
_CODECS = {"shift_jis": "cp932", "euc_kr": "cp949", "gbk": "gb18030"}


def codec_of(encoding: str | None) -> str | None:
    """Return Python's codec for an encoding: the widest of its family."""
    if encoding is None:
        return None
    try:
        return _CODECS.get(encoding.lower().replace("-", "_")) or codecs.lookup(encoding).name
    except LookupError:
        raise SpecError(
            f"encoding={encoding!r} is no encoding that is known.",
            "Next: cp850 or cp1252 (western Europe), cp1251 (Russia), gbk (China), shift_jis (Japan), euc_kr (Korea).",
        ) from None


def guess_encoding(names: Sequence[bytes], folders: Set[str] = frozenset()) -> str | None:
    """Guess the encoding of the names of one archive that are not ASCII; None if nothing fits them all.

    It is UTF-8 if all are. Else it is the encoding under which all names are words: of the letters of one language as
    far as can be, of one script each, and without capitals behind small letters. An encoding under which they name
    `folders`, which are known, comes first: Python marks the names of files as UTF-8, and since 3.14 not of folders.
    """
    text = b"\n".join(names)
    best, best_score = None, _LEAST_SCORE
    for encoding, score in _candidates():
        try:
            decoded = text.decode(codec_of(encoding) or encoding)
            found = score(decoded) + 20.0 * (not folders.isdisjoint(decoded.split("\n")))
        except UnicodeDecodeError:
            continue
        if found > best_score + 1e-9:
            best, best_score = encoding, found
    return best


def _candidates() -> Iterator[tuple[str, Callable[[str], float]]]:
    yield "utf-8", lambda text: 9.0
    for table in (_LATIN, _OTHER):
        for encoding in dict.fromkeys(encoding for encodings in table.values() for encoding in encodings):
            yield encoding, partial(_alphabetic, [letters for letters, of in table.items() if encoding in of])
    for encoding, first, last, common in _EASTERN:
        yield encoding, partial(_eastern, _CODECS.get(encoding, encoding), first, last, common)


def _alphabetic(alphabets: Sequence[str], text: str) -> float:
    """Score words of letters: 1 if all beyond ASCII belong to one language and stand where such letters do."""
    odd = [c for c in text if c > "\x7f"]
    small = [c.lower() for c in odd]
    score, others = 0.0, "".join(alphabets)
    for letters in alphabets:
        # In a script of its own the commonest letters must be the most: that tells it from another's bytes.
        weights = {c: 1.0 if letters[0] < "\u0370" else 1.0 - 0.5 * nth / len(letters) for nth, c in enumerate(letters)}
        total: float = sum(weights.get(c, 0.1 if c in others else -0.2 if c.isalpha() else -0.7) for c in small)
        score = max(score, total / len(odd))
    words = re.findall(r"[^\W\d_]+", text)
    ranks = {c: 1 - nth / len(_COMMONEST) for nth, c in enumerate(_COMMONEST)}
    odd_places = sum(0.4 if bracket else 0.1 for bracket in _NEVER.findall(text))  # a bracket: half of a letter of Asia
    score += (0.1 * sum(ranks.get(c, 0.0) for c in small) - odd_places) / len(odd)
    score -= 0.1 * sum(len(word) > 2 and word.isupper() and not word.isascii() for word in words) / len(words or "-")
    if alphabets[0][0] < "\u0370" and not any(c.isascii() for word in words if not word.isascii() for c in word):
        score -= 0.2  # words of accented letters alone are mostly another script
    n_wrong = 0
    for word in words:
        n_wrong += len({_script(c) for c in word}) > 1
        # A capital from another encoding stands behind small letters, or before them amid a word.
        n_wrong += sum(max(a, b) > "\x7f" and a.islower() and b.isupper() for a, b in zip(word, word[1:]))
        n_wrong += sum(a > "\x7f" and a.isupper() and b.islower() for a, b in zip(word[1:], word[2:]))
    return float(score - 1.5 * n_wrong / len(odd))


def _script(c: str) -> str:
    return "LATIN" if c < "\u0250" else unicodedata.name(c, "?").partition(" ")[0]


def _eastern(codec: str, first: int, last: int, common: str, text: str) -> float:
    """Score characters of East Asia: those in common use for, others and lone ones amid Latin letters against."""
    odd = [c for c in text if c > "\x7f"]
    total = 0.0
    for c in odd:
        pair = c.encode(codec, "replace")
        if c in common or "\u3040" <= c <= "\u30ff" and codec in ("cp932", "euc_jp"):
            total += 1.0
        elif "\u3000" <= c <= "\u303f" or "\uff01" <= c <= "\uff5e" or c in "·—“”‘’…":
            total += 0.5
        elif "\uff61" <= c <= "\uff9f" and codec == "cp932":
            total += 0.3  # katakana of half a width: one byte each, which other encodings use too
        elif len(pair) == 2 and first <= pair[0] <= last and (codec in ("cp932", "big5") or pair[1] >= 0xA1):
            total += 0.72
        elif len(pair) == 2 and last < pair[0] <= _LAST_LEAD[codec] and (codec == "cp932" or pair[1] >= 0xA1):
            total += 0.2
        else:
            total -= 0.6
    n_lone = sum(pair[0] > 0x7F > pair[1] for pair in (m.encode(codec) for m in _lone(text)) if len(pair) == 2)
    return 0.9 * total / len(odd) - 1.5 * n_lone / len(odd)


def _lone(text: str) -> list[str]:
    """Return the characters that stand alone beside Latin letters: mostly an accented letter and the next one."""
    return re.findall(r"(?<=[A-Za-z])[^\x00-\x7f](?![^\x00-\x7f])|(?<![^\x00-\x7f])[^\x00-\x7f](?=[A-Za-z])", text)
