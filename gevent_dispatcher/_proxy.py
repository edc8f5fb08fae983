"""Which proxy a request goes through: the environment, read as requests reads it.

The rules are those of requests' `get_environ_proxies`, `select_proxy` and `should_bypass_proxies`, and of CPython's
`urllib.request.getproxies_environment` and `proxy_bypass_environment` beneath them; the tests compare the two.
"""

from __future__ import annotations

from socket import inet_aton
from typing import Mapping

from gevent_dispatcher._url import DEFAULT_PORTS, parse


def proxy_for(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> str | None:
    """Tell the url of the proxy for an origin, or None when it is reached directly.

    Args:
        scheme: "http" or "https", in lower case.
        host: name or address, an IPv6 one without brackets.
        port: a NO_PROXY entry such as "host:8443" is compared with it. The scheme's default port counts as not
            written in the url, so "host:443" does not match it, as in requests.
        environ: environment variables; HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY in any case are read.
            A value without a scheme gets http://, also "localhost:3128", which requests refuses.
    """
    proxy = _variable(scheme, environ) or _variable("all", environ)
    if proxy is None or _is_direct(scheme, host.lower(), port, environ):
        return None
    return _with_scheme(proxy)


def split_credentials(proxy_url: str) -> tuple[str, str | None]:
    """Take user and password out of a proxy's url.

    Args:
        proxy_url: an absolute http or https url. User and password are percent-decoded and sent as Latin-1.

    Returns:
        scheme://host:port, a default port left out, and the value of a Proxy-Authorization header ("Basic ...") or
        None. Where requests sends it only with user and password both, one of them is enough here, as for curl.

    Raises:
        ValueError: the url is malformed or of another scheme; the message never contains the url.
    """
    if proxy_url.lower().startswith("socks"):
        raise ValueError("the proxy cannot be used: the url is a SOCKS proxy's; only http and https ones are supported")
    try:
        address = parse(proxy_url)
    except ValueError as error:
        raise ValueError(f"the proxy cannot be used: {error}") from None
    return str(address.origin), address.authorization


def _variable(name: str, environ: Mapping[str, str]) -> str | None:
    spelled = [(key, value) for key, value in environ.items() if key.lower() == name + "_proxy"]
    lower = [value for key, value in spelled if key.endswith("_proxy")]
    if lower:
        # An empty lower-case variable unsets the upper-case one.
        return lower[-1] or None
    if name == "http" and "REQUEST_METHOD" in environ:
        # Under CGI, HTTP_PROXY is what a client sent as a header named "Proxy" (CVE-2016-1000110).
        return None
    written = [value for _, value in spelled if value]
    return written[-1] if written else None


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else "http://" + proxy.lstrip("/")


def _is_direct(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> bool:
    # Two readers stand one behind the other in requests, and each looks the variable up in its own way.
    first = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if _is_listed(scheme, host, port, first.replace(" ", "").split(",")):
        return True
    second = _variable("no", environ) or ""
    return second == "*" or any(_is_within(host, entry.strip().lower()) for entry in second.split(","))


def _is_listed(scheme: str, host: str, port: int, entries: list[str]) -> bool:
    if _is_address(host):
        return any(_is_in_network(host, entry) for entry in entries)
    names = [host] if port == DEFAULT_PORTS.get(scheme) else [host, f"{host}:{port}"]
    return any(_is_within(name, entry) for entry in entries for name in names)


def _is_within(name: str, entry: str) -> bool:
    domain = entry.lstrip(".")
    return bool(entry) and (name == domain or name.endswith("." + domain))


def _is_in_network(address: str, entry: str) -> bool:
    network, slash, bits = entry.partition("/")
    if not slash:
        return address == entry
    if not _is_mask(bits) or not _is_address(network):
        return False
    shift = 32 - int(bits)
    return _number(address) >> shift == _number(network) >> shift


def _is_mask(bits: str) -> bool:
    try:
        return 1 <= int(bits) <= 32
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    try:
        inet_aton(host)
    except (OSError, ValueError):
        return False
    return True


def _number(address: str) -> int:
    return int.from_bytes(inet_aton(address), "big")
