"""A public function or the command called another way than it is meant: which argument was meant, and what it takes."""

from __future__ import annotations

import argparse
import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, SupportsFloat

from datastage.errors import SpecError
from datastage.progress import with_and

# What the same thing is called elsewhere.
_ELSEWHERE = {
    **dict.fromkeys(("bs", "batch"), "batch_size"),
    **dict.fromkeys(("image_size", "img_size", "imgsz", "resize", "shape"), "size"),
    **dict.fromkeys(("dir", "folder", "output_dir", "dest", "destination", "data_dir", "cache_dir"), "root"),
    **dict.fromkeys(("force", "force_download", "overwrite"), "refresh"),
    **dict.fromkeys(("md5", "sha256", "checksum", "hash", "known_hash"), "expect"),
    **dict.fromkeys(("transforms", "augmentation"), "transform"),
    **dict.fromkeys(("val_split", "validation_split", "valid"), "val"),
    **dict.fromkeys(("test_split", "test_size"), "test"),
    **dict.fromkeys(("label", "target", "targets", "y"), "labels"),
    **dict.fromkeys(("verbose", "quiet"), "progress"),
}


def misused(verb: str, signature: inspect.Signature, given: Sequence[object], named: Mapping[str, object]) -> SpecError:
    """Return the error for a call that does not fit a function's signature."""
    parameters = signature.parameters
    unnamed = [name for name, one in parameters.items() if one.kind is one.POSITIONAL_OR_KEYWORD]
    for name in named:
        if name not in parameters:
            meant = nearest(name, list(parameters))
            step = f"write {meant}= in its place." if meant else f"its arguments are {', '.join(parameters)}."
            return SpecError(f"{verb}() has no argument {name}=.", f"Next: {step}")
    if len(given) > len(unnamed):
        count = "one argument" if len(unnamed) == 1 else f"{len(unnamed)} arguments"
        others = [name for name in parameters if name not in unnamed]
        return SpecError(
            f"{verb}() takes {count} without a name ({', '.join(unnamed)}), and {len(given)} were given.",
            f"Next: name the others, such as {others[0]}=." if others else "Next: leave the others out.",
        )
    here = {**dict.fromkeys(unnamed[: len(given)]), **named}
    missing = [name for name, one in parameters.items() if one.default is one.empty and name not in here]
    if not missing:
        return SpecError(f"{verb}() got {unnamed[0]} twice.", "Next: give it once.")
    return SpecError(
        f"{verb}() needs {with_and(missing)}.",
        f"Next: add {', '.join('batch_size=64' if name == 'batch_size' else name for name in missing)}.",
    )


_PATH = (str, os.PathLike)
# What an option takes, whatever verb has it: in words, its types, and those of what is in it.
_TAKES: dict[str, tuple[str, tuple[type, ...], tuple[type, ...]]] = {
    **dict.fromkeys(("password", "encoding", "name", "expect", "title", "licence", "wheel"), ("text", (str,), ())),
    **dict.fromkeys(
        ("root", "link", "save_to", "to", "archive", "folder", "staged", "catalog"),
        ("text, or a path", _PATH, ()),
    ),
    **dict.fromkeys(("members", "names"), ("text, or a list of texts", (str,), (str,))),
    "fallbacks": ("text, or a list of texts", _PATH, _PATH),
    "wait": ("a number of seconds", (SupportsFloat,), ()),
}


def check_given(parameters: Mapping[str, inspect.Parameter], given: Mapping[str, Any]) -> None:
    """Raise `SpecError` for what was given to a public function and is nothing that the option can be."""
    for option in _TAKES.keys() & given.keys():
        value, (takes, types, items) = given[option], _TAKES[option]
        at = parameters[option]
        if at.annotation == "Any" or (value is None and at.default is not at.empty and option != "names"):
            continue
        is_list = bool(items) and isinstance(value, Iterable) and not isinstance(value, (*_PATH, bytes))
        wrong = [value] if not is_list and not isinstance(value, types) else []
        if is_list and not isinstance(value, Iterator):  # which can be read once alone
            wrong = [one for one in value if not isinstance(one, items)]
        if wrong:
            kind = "None" if wrong[0] is None else f"a value of type {type(wrong[0]).__name__}"  # it may be a secret
            takes = "texts" if at.kind is at.VAR_POSITIONAL else takes
            raise SpecError(f"{option}= takes {takes}, and was given {kind}.", f"Next: {_step(at, takes, wrong[0])}")
        if isinstance(value, str) and not value and types is _PATH:
            raise SpecError(f"{option}= is empty.", "Next: name it, or leave it out. Is a variable not set?")


def class_names(classes: Any) -> list[str]:
    """Return ``classes=`` as texts, numbers as labels are called; `SpecError` if it is no list, or names one twice."""
    try:
        given = None if isinstance(classes, str | bytes | set | frozenset) else list(classes)
        plain = [one.item() if hasattr(one, "item") else one for one in given or ()]  # of numpy
    except (TypeError, ValueError):
        given = None
    if given is None:
        raise SpecError(
            f"classes= takes a list of names, and was given a value of type {type(classes).__name__}.",
            "Next: classes=['cat', 'dog'], in the order that their numbers are to have.",
        )
    plain = [one.decode("utf-8", "replace") if isinstance(one, bytes) else one for one in plain]
    names = [str(int(one)) if isinstance(one, float) and one.is_integer() else str(one) for one in plain]
    if len(set(names)) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise SpecError(f"classes= names {twice!r} twice.", "Next: name each class once.")
    return names


def _step(at: inspect.Parameter, takes: str, wrong: Any) -> str:
    if wrong is None:
        needed = at.default is at.empty and at.kind is not at.VAR_POSITIONAL
        return f"{'name it' if needed else 'leave it out'}. Is a variable not set?"
    if at.kind is at.VAR_POSITIONAL:
        return "give them one by one, each in quotes."
    if isinstance(wrong, str | SupportsFloat):
        return f"write it {'without' if isinstance(wrong, str) else 'in'} quotes."
    return f"give {takes}."


_WITHIN = functools.reduce(lambda inner, _: rf"(?:[^()]|\({inner}\))*", range(6), "")  # brackets in brackets
# A call, which says itself whose options it has; or an option as Python writes it, behind a blank or a bracket.
OPTION = re.compile(rf"\w\({_WITHIN}\)|" + r"(?<![^\s(`])([a-z_]+)=(\.{3}|\[[^\]]*\]|'[^']*'|\"[^\"]*\"|[\w.]*\w|)")


def possible(step: str, signature: inspect.Signature, others: Sequence[Callable[..., Any]]) -> str:
    """Return a step that the verb of this signature can do: an option that it lacks is named as one of another verb."""
    if (one := re.search(r"the same line with ([a-z_]+)=.*", step)) and one[1] not in signature.parameters:
        call = f'path = datastage.stage(path, {one[1]}="...")'
        return f"{step[: one.start()]}stage it first: {call}, and pass on what that gives."
    if re.search(r"\bstage (it|the)\b", step):  # says in words whose option it is
        return step
    if signature.parameters.keys() & {"to", "archive"}:  # which say the place themselves
        step = step.replace(" with root=", "")

    def whose(found: re.Match[str]) -> str:
        name = found[1]
        if name is None or name in signature.parameters:
            return found[0]
        verbs = [other.__name__ for other in others if name in inspect.signature(other).parameters]
        return f"datastage.{verbs[0]}(..., {name}={found[2] or '...'})" if verbs else found[0]

    return OPTION.sub(whose, step)


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are errors of ours, and which passes on only what was given."""

    verbs: Mapping[str, argparse.ArgumentParser]

    def __init__(self, **options: Any) -> None:
        super().__init__(argument_default=argparse.SUPPRESS, **options)

    def error(self, message: str) -> NoReturn:
        raise SpecError(message, f"Next: {self.prog} --help")


def taken_apart(words: list[str], parser: Parser, flags: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Take a command line apart, given each verb's flags; say what a misspelt one should be, without words the help."""
    if not words:
        parser.print_help(sys.stderr)
        raise SystemExit(SpecError.exit_code)
    verb = next((word for word in words if not word.startswith("-")), "")
    if verb and verb not in flags:
        near = nearest(verb, list(flags))
        step = f"did you mean  datastage {near} ?" if near else "datastage --help lists what there is."
        raise SpecError(f"datastage has no verb {verb!r}.", f"Next: {step}")
    options, rest = parser.parse_known_args(words)
    if any(word == "-" or not word.startswith("-") for word in rest):  # an option stands between names
        again, left = parser.verbs[verb].parse_known_intermixed_args(words[words.index(verb) + 1 :])
        if not left:
            return {**vars(again), "verb": verb}
    if rest:
        flag = rest[0].partition("=")[0]
        near = nearest(flag, flags[verb]) if flag.startswith("-") else ""
        step = f"did you mean {near} ?" if near else f"datastage {verb} --help"
        raise SpecError(f"datastage {verb} does not know {' '.join(rest)!r}.", f"Next: {step}")
    return vars(options)


def nearest(word: str, known: Sequence[str]) -> str:
    """Return which of the known words was meant; nothing if none is near.

    >>> nearest("batchsize", ["size", "batch_size"]), nearest("stag", ["stage", "cell"]), nearest("xyz", ["stage"])
    ('batch_size', 'stage', '')
    """
    import difflib

    plain = {_plain(name): name for name in known}
    elsewhere = _ELSEWHERE.get(word.lower(), "")
    close = difflib.get_close_matches(_plain(word), plain, 1, 0.7)
    return plain[close[0]] if close else elsewhere if elsewhere in known else ""


def _plain(name: str) -> str:
    return name.replace("_", "").replace("-", "").lower()
