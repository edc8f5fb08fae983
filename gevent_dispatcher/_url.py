"""Where a request goes: an event's url, taken apart once."""

from __future__ import annotations

import base64
import re
from typing import NamedTuple
from urllib.parse import SplitResult, quote, unquote, urlsplit

DEFAULT_PORTS = {"http": 80, "https": 443}
# Printable ASCII that a path or query may carry as it stands, '%' included: what is quoted already stays as it is.
_SAFE = "!#$%&'()*+,/:;=?@[]~-._"
_UNUSABLE = re.compile("[\x00-\x20\x7f]")
# A name of labels (RFC 1035, section 2.3.4: at most 63 bytes each; underscores do occur), or an address of IPv6.
_NAME = r"([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}\.?\Z"
_HOST = re.compile(_NAME + r"|[0-9a-f]*:[0-9a-f:.]+(%25[\w.-]+|%[\w.-]+)?\Z", re.IGNORECASE)


class Origin(NamedTuple):
    """Scheme, host and port: what shares connections, a breaker and a fate."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == DEFAULT_PORTS.get(self.scheme) else f":{self.port}"
        return f"{self.scheme}://{host}{port}"


class Address(NamedTuple):
    """An origin, the request target, and the Authorization header that a url with user:password@ asks for."""

    origin: Origin
    target: str
    authorization: str | None

    def __repr__(self) -> str:
        return f"<Address at {self.origin}>"


def parse(url: object) -> Address:
    """Take a url apart.

    Args:
        url: an absolute http or https url.

    Raises:
        ValueError: it is not one; the message never contains the url, which may carry credentials.
    """
    if not isinstance(url, str):
        raise ValueError(f"the url is {type(url).__name__}, not str")
    if _UNUSABLE.search(url):
        raise ValueError("the url has a space or control character in it")
    parts = _split(url)
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError("the url's scheme is not http or https")
    origin = Origin(parts.scheme, _host(parts), _port(parts))
    return Address(origin, _target(parts), _authorization(parts))


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise ValueError("the url is malformed") from None


def _host(parts: SplitResult) -> str:
    host = parts.hostname
    if not host:
        raise ValueError("the url has no host")
    try:
        name = host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        name = ""
    if not _HOST.match(name):
        raise ValueError("the url's host is not a valid name")
    return name


def _port(parts: SplitResult) -> int:
    try:
        port = parts.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError("the url's port is not a number from 1 to 65535")
    return port or DEFAULT_PORTS[parts.scheme]


def _target(parts: SplitResult) -> str:
    path = parts.path or "/"
    target = f"{path}?{parts.query}" if parts.query else path
    try:
        return quote(target, safe=_SAFE)
    except UnicodeError:
        raise ValueError("the url has a lone surrogate in it") from None


def _authorization(parts: SplitResult) -> str | None:
    if not parts.username and not parts.password:
        return None
    pair = "{}:{}".format(unquote(parts.username or ""), unquote(parts.password or ""))
    try:
        return "Basic " + base64.b64encode(pair.encode("latin-1")).decode("ascii")
    except UnicodeError:
        raise ValueError("the url's user and password are not Latin-1") from None
