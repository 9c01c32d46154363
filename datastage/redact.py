"""Make text fit to be shown: secrets hidden, control characters escaped."""

from __future__ import annotations

import re

HIDDEN = "..."

# Texts, compiled when first used: most runs show nothing that needs them.
# An address, up to what cannot be part of one. Backslashes and missing slashes are how people mistype it.
_ADDRESS = (
    r"(?i)(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*:(?:[/\\]{2,}|(?<=https:)[/\\]?|(?<=http:)[/\\]?))(?P<rest>[^\s\"'<>`]+)"
)
_BROKEN_LOGIN = (
    r"(?i)(?P<scheme>https?:[/\\]*|[A-Za-z][A-Za-z0-9+.-]*:[/\\]{2,}|(?<![\w:/\\])[/\\]{2})"
    r"(?P<host>[^\s/?#\\@:\"']*):(?P<port>[^\s/?#@\"']*)(?:[^@\n]{0,200}@)+"
)
_AUTHORITY = r"[^/?#\\]*"
_HOST = r"(?:\[[0-9A-Fa-f:.%]+\]|[\w.-]+\.[A-Za-z]{2,}|localhost|\d+(?:\.\d+){3})"
_HOST_AND_PORT = rf"(?i){_HOST}(?::\d*)?|[\w.-]+"
_AT_A_HOST = rf"(?i)@(?={_HOST}(?::\d+)?[/\\?#])"
# "user:password@host" without a scheme before it; drive: and its like are schemes of ours, where "@" is part of a name.
_LOGIN = (
    r"(?im)(?:(?<=[\s\"'(=<,])|(?<=//)|(?<=\\\\)|^)(?!(?:drive|kaggle|github|hf|upload|file|doi|md5|sha256|[A-Za-z]):)"
    r"[^\s:/@\"'()=<>]+:(?!//)[^\s\"']*@(?=[\w\[])"
)
_TOKEN_AT_A_HOST = r"(?<![\w:])//[^\s/@]+@"
# A path of this machine, whose parts may be called as secrets are (``/data/key=5``): up to what may begin a query.
_PATH = r"(?P<path>(?<![^\s\"'(<\[])(?<!url: )(?:(?:~|\.\.?)?/|[A-Za-z]:[/\\])(?![/\\])[^\s\"'<>?&,;:)}\]@]*)"
# The name of a secret, then its value.
_NAMED = (
    r"(?P<name>(?<![A-Za-z])(?:[\w-]*(?:token|secret|passw(?:or)?d|passwd|passphrase|api[_-]?key|access[_-]?key"
    r"|private[_-]?key|signature|credentials?|x-amz-[a-z-]+)|pwd|sig|key))"
    r"(?P<sign>[\"']?(?:=|%3[Dd]|:[ \t]+(?=[^\s]{6,}(?:[\s,;.]|$)))[\"']?)(?P<value>(?!\.\.\.)[^\s\"'&,;)}\]]+)"
)
_BEARER = r"(?i)\b(?P<kind>Bearer|Basic)[ \t]+[A-Za-z0-9+/._~=\\-]{6,}"
_TOKEN = (
    r"\b(?:hf_[A-Za-z0-9]{10,}|gh[opsur]_[A-Za-z0-9]{16,}|github_pat_\w{16,}|glpat-[\w-]{16,}|A[KS]IA[0-9A-Z]{16}"
    r"|AIza[\w-]{30,}|ya29\.[\w-]{10,}|xox[abprs]-[\w-]{10,}|KGAT_\w{10,}"
    r"|sk-(?![a-z]+(?:[-_](?:[a-z]+|v?\d{1,4}))*(?![\w-]))[\w-]{20,}"  # not words, as in sk-learn-digits-dataset-v2
    r"|eyJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)?)"
)


def hide_secrets(text: str) -> str:
    """Return `text` with everything replaced by ``...`` that could be a secret.

    User names, passwords and query values of addresses, also of mistyped ones; values that stand after a name such as
    ``token=``; and what has the form of a known kind of token. The parts of a path that begins as one are neither.

    Examples
    --------
    >>> hide_secrets("see http://u:p@h/x?a=1&b=2#f, or u:p@host.example/x")
    'see http://...@h/x?a=...&b=...#f, or ...@host.example/x'
    """
    if re.search(r"[@=:_-]|eyJ|A[KS]IA|AIza|ya29|(?i:bearer|basic)[ \t]", text) is None:
        return text  # no secret is without one of these
    text = _join_broken_logins(text)
    text = re.sub(_ADDRESS, lambda match: match["scheme"] + _hidden_in_address(match["rest"]), text)
    text = re.sub(_LOGIN, f"{HIDDEN}@", text)
    text = re.sub(_TOKEN_AT_A_HOST, f"//{HIDDEN}@", text)
    named = re.compile(f"{_PATH}|{_NAMED}", re.IGNORECASE)
    text = named.sub(lambda match: match["path"] or match["name"] + match["sign"] + HIDDEN, text)
    text = re.sub(_BEARER, lambda match: f"{match['kind']} {HIDDEN}", text)
    return re.sub(f"{_PATH}|{_TOKEN}", lambda match: match["path"] or HIDDEN, text)


def _join_broken_logins(text: str) -> str:
    """Hide the login of an address whose password holds a blank, a quote or another character that ends an address."""

    def hidden(match: re.Match[str]) -> str:
        is_address = match["port"].isdigit() and re.fullmatch(_HOST, match["host"], re.IGNORECASE)
        rest = match[0][match.end("port") - match.start() :]
        if is_address and re.search(r"\s", rest[: rest.index("@")]):
            return match[0]  # another word than the address holds the "@"
        return f"{match['scheme']}{HIDDEN}@"

    return re.sub(_BROKEN_LOGIN, hidden, text)


def _hidden_in_address(rest: str) -> str:
    authority = re.match(_AUTHORITY, rest)
    assert authority is not None
    end = authority.end()
    at = rest.rfind("@", 0, end)
    if at < 0 and "@" in rest:
        host = authority[0]
        # "/", "#" or "?" in a password ends the authority too early: then what stands there is no host and port.
        login = re.fullmatch(_HOST_AND_PORT, host) is None or ":" in host
        found = [match.start() for match in re.finditer(_AT_A_HOST, rest)]
        at = rest.rfind("@") if login else (found[-1] if found else -1)
    if at >= 0:
        rest = f"{HIDDEN}{rest[at:]}"
    path, question, query = rest.partition("?")
    if not question:
        return rest
    query, hash_, fragment = query.partition("#")
    return path + question + "&".join(_hidden_value(pair) for pair in query.split("&")) + hash_ + fragment


def _hidden_value(pair: str) -> str:
    name, equals, value = pair.partition("=")
    if equals:
        # A bracket, comma or full stop at the end belongs to the sentence around the address.
        tail = value[len(value.rstrip(".,;:)]}")) :]
        return f"{name}={HIDDEN}{tail}" if value != tail else pair
    # A query without "=" may itself be the token.
    return HIDDEN if pair else ""


def printable(text: str) -> str:
    r"""Return `text` as one line that cannot steer a terminal: a file's name may hold anything.

    Examples
    --------
    >>> printable("a\x1b[2Jb\nc")
    'a\\x1b[2Jb\\nc'
    """
    if text.isprintable():
        return text
    import unicodedata

    return "".join(
        char if char.isprintable() or unicodedata.category(char) == "Zs" else char.encode("unicode_escape").decode()
        for char in text
    )


def for_a_screen(text: str) -> str:
    """Return `text`, of one or several lines, without secrets and without what could steer a terminal."""
    return "\n".join(printable(line) for line in hide_secrets(text).split("\n"))


# What receipts and results call files here; the specs of a receipt were written without secrets.
_LOCAL = {
    "path", "folder", "at", "cwd", "source_path", "single", "spec", "fallbacks", "name", "names", "target", "stripped",
    "members", "dangling", "damaged", "missing", "extra", "repaired",
}  # fmt: skip


def values_without_secrets(value: object) -> object:
    """Return a value of JSON with the secrets in its texts hidden; what names files here is left as it is."""
    if isinstance(value, str):
        return hide_secrets(value)
    if isinstance(value, dict):
        return {key: item if key in _LOCAL else values_without_secrets(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [values_without_secrets(item) for item in value]
    return value
