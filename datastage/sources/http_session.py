"""From an address to its bytes: redirects, which token goes along, passwords, which answers are none."""

from __future__ import annotations

import contextlib
import email.message
import http.client
import time
import urllib.parse
from collections.abc import Mapping

from datastage import network
from datastage.connecting import Address, parse_address, proxy_of
from datastage.errors import MissingDependencyError, SpecError, UnavailableError
from datastage.redact import hide_secrets
from datastage.sources import http_answers as answers
from datastage.sources.endpoints import token_name, user_token
from datastage.sources.http_connection import Connections, Netrc, Response, basic
from datastage.transfer import Interrupted, Limits

_MOST_REDIRECTS = 10
_REFUSAL_BYTES = 4096
_IN_A_BROWSER = "Next: open the address in a browser, and copy the address where it ends."


class HttpSession:
    """One address that is asked again and again; `UnavailableError` if it is out of reach.

    `final` is where its redirects led last, `name` the file's name.
    """

    def __init__(
        self,
        url: str,
        limits: Limits,
        *,
        has_hash: bool,
        headers: Mapping[str, str] | None = None,
        with_cookies: bool = False,
    ) -> None:
        self.origin = parse_address(url)
        self.final = self.origin
        self.name = ""
        self.connections = Connections(limits.stall_s)
        self._limits = limits
        self._has_hash = has_hash
        self._headers = dict(headers or {})
        self._tokens: dict[tuple[str, str, int], str] = {}  # by the server that asked for it: one, and it may be empty
        self.told: dict[str, str] = {}  # what redirects said of the file: headers in small letters
        self._with_cookies = with_cookies
        self._cookies: dict[tuple[str, str, int], dict[str, str]] = {}
        self._netrc = Netrc()
        self._n_refused = 0  # requests in a row that the first address refused
        self._shown = hide_secrets(url)
        proxy_of(self.origin)  # one that is not spoken with is said before any wait
        if network.is_offline(self.origin.host, port=self.origin.port):
            raise answers.unresolved(self.origin.host, "this machine is offline, or the name is wrong")

    def bearer(self, origin: tuple[str, str, int]) -> dict[str, str]:
        """Return the header with the token that a server asked for; empty if it asked for none."""
        token = self._tokens.get(origin)
        return {"Authorization": f"Bearer {token}"} if token else {}

    def ask(self, headers: dict[str, str], *, is_first: bool = False) -> Response:
        """Send a GET, follow redirects, and return the answer if it is one with bytes."""
        from_the_first_address = self.final == self.origin
        response = self._follow(headers)
        address, status = response.address, response.status
        if status in (200, 206) or (status == 416 and (not is_first or "Range" in headers)):
            self._n_refused = 0
            return response
        wait = answers.wait_asked(response.headers)
        body = bytearray()
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            response.put_beginning(body, _REFUSAL_BYTES)
        self.connections.put_back(response)
        token = token_name(*address.origin) if status in (401, 403, 404, 429) and not self._tokens else None
        if token is not None:
            # Asked for only now: a notebook's secrets open a question to the user.
            value = self._tokens[address.origin] = user_token(token) or ""
            if not value.isascii() or not (value + "x").isprintable():
                raise SpecError(
                    f"{token} holds a line break or another character that no token has.",
                    "Next: set it again, without that character.",
                )
            if value:
                return self.ask(headers, is_first=is_first)
        # A signed address that a redirect led to expires: the next try begins at the first one.
        self.final = self.origin
        name = self.name or answers.file_name(email.message.Message(), self.origin)
        error = answers.refused(response, name, bytes(body), self._netrc.trouble)
        error.with_token = any(self._tokens.values())
        if status in answers.PASSING and not error.is_final:
            raise Interrupted(error, "busy" if status in answers.BUSY else "broken", wait)
        if is_first:
            raise error
        # Once in the middle it may pass; twice at the first address it is meant.
        self._n_refused += from_the_first_address
        raise Interrupted(error, "final" if self._n_refused > 1 or error.is_final else "broken")

    def _follow(self, headers: dict[str, str]) -> Response:
        address = self.final
        seen: set[Address] = set()
        n_redirects = 0
        while True:
            if address in seen or n_redirects >= _MOST_REDIRECTS:
                raise UnavailableError(
                    f"{self.origin.host} sends the request in a circle: {n_redirects} redirects without an end.",
                    _IN_A_BROWSER,
                )
            seen.add(address)
            n_redirects += 1
            try:
                response = self._answer(address, headers)
            except Interrupted:
                # One of many that a redirect may lead to: the next try begins at the first address.
                self.final = self.origin
                raise
            if self._keep_cookies(response):
                seen.clear()  # it may lead to the same address, which then answers otherwise
            location = response.getheader("Location", "")
            is_s3 = "x-amz-bucket-region" in response.headers  # which names the region instead
            if response.status not in answers.REDIRECTS or (is_s3 and not location):
                return response
            self.told |= {k.lower(): v for k, v in response.headers.items() if k.lower().startswith("x-linked-")}
            self.connections.put_back(response)
            address = self._redirected(address, location)

    def _keep_cookies(self, response: Response) -> bool:
        """Keep what a server sets, for that server alone; return whether it set anything."""
        texts = response.headers.get_all("Set-Cookie", []) if self._with_cookies else []
        pairs = [str(text).partition(";")[0].strip().partition("=")[::2] for text in texts]
        self._cookies.setdefault(response.address.origin, {}).update(pairs)
        return bool(pairs)

    def _redirected(self, address: Address, location: str) -> Address:
        if not location:
            raise UnavailableError(f"{address.host} redirects without saying where to.", _IN_A_BROWSER)
        with contextlib.suppress(UnicodeError):
            location = location.encode("latin-1").decode("utf-8")  # raw UTF-8 in a header arrives as latin-1
        try:
            target = urllib.parse.urljoin(address.url, location)
            scheme = urllib.parse.urlsplit(target).scheme
        except ValueError:
            target, scheme = hide_secrets(location), ""
        if scheme not in ("http", "https"):
            raise UnavailableError(
                f"{address.host} redirects to {hide_secrets(target)}, which is no web address.", _IN_A_BROWSER
            )
        new = parse_address(target)
        if address.scheme == "https" and new.scheme == "http" and not self._has_hash:
            raise UnavailableError(
                f"{address.host} redirects from https to http, where anybody on the way may change the bytes.",
                "With a digest that proves them it is allowed: expect='sha256:...'.",
                "Next: ask for the address that begins with https.",
            )
        if new.origin != self.origin.origin:
            return new
        # Credentials go to the host they were given for, and to no other.
        return Address(*new.origin, new.target, self.origin.user, self.origin.password)

    def _answer(self, address: Address, headers: dict[str, str]) -> Response:
        began = time.monotonic()
        try:
            cookies = "; ".join(f"{k}={v}" for k, v in self._cookies.get(address.origin, {}).items())
            own = {"Cookie": cookies} if cookies else {}
            return self.connections.get(address, {**self._authorization(address), **own, **headers})
        except (UnavailableError, MissingDependencyError):
            raise
        except (OSError, ValueError, http.client.HTTPException) as error:
            fault = self.broken(error, address)
            # A server that gives each client only so many connections says it in this way too.
            is_lost = isinstance(error, ConnectionError | TimeoutError) and self.connections.others_flow(began)
            if is_lost and isinstance(fault, Interrupted):
                fault = Interrupted(fault.error, "busy")
            # What the standard library says of a header that it refuses holds the header.
            raise fault from (None if isinstance(error, ValueError) else error)

    def _authorization(self, address: Address) -> dict[str, str]:
        own = self._headers if address.origin == self.origin.origin else {}
        if bearer := self.bearer(address.origin):
            return {**own, **bearer}
        user, password = address.user, address.password
        if not user and not password and "Authorization" not in own:
            user, password = self._netrc.of(address.host, self.origin.host)
        return {**own, **(basic("Authorization", user, password) if user or password else {})}

    def broken(self, error: Exception, address: Address) -> Interrupted | UnavailableError:
        return answers.broken(error, address, self.name or self._shown, self._limits.stall_s)
