"""Who may talk to the collector: this machine's programs and its own page; no website that gets there by a trick.

A website can have its own name resolve to 127.0.0.1 (DNS rebinding): its pages then read what the collector holds as
if it were theirs. The Host header gives them away. A form or a script of a website can post anywhere without such a
trick: its Origin header gives it away.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

# No name of a host is longer (RFC 1035, 2.3.4), a port included.
_LONGEST = 261


def is_local(host: str) -> bool:
    """Whether a Host header names this machine: localhost or a name below it, or a loopback address, with any port."""
    return len(host) <= _LONGEST and _is_local(host)


@lru_cache(maxsize=64)
def _is_local(host: str) -> bool:
    name = _without_port(host.lower())
    if name is None:
        return False
    return name == "localhost" or name.endswith(".localhost") or _is_loopback(name)


def _without_port(host: str) -> str | None:
    if host.startswith("["):
        name, bracket, rest = host[1:].partition("]")
        return name if bracket and _is_port(rest) else None
    name, colon, port = host.partition(":")
    return name.rstrip(".") if _is_port(colon + port) else None


def _is_port(text: str) -> bool:
    return not text or (text.startswith(":") and text[1:].isdecimal())


def _is_loopback(name: str) -> bool:
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_own(origin: str | None, host: str | None) -> bool:
    """Whether a request comes from a page of the collector itself, or from no page at all.

    Args:
        origin: the header of that name; browsers send it with every POST.
        host: the header of that name.
    """
    return origin is None or (host is not None and origin.partition("://")[2].lower() == host.lower())
