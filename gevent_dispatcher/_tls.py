"""TLS on gevent's sockets, whatever was patched: which certificates are trusted, and the context as urllib3 sees it."""

from __future__ import annotations

import os
import ssl as native_ssl
from typing import Any

import gevent.ssl

# How a connection shows while bytes are sent that the other side has closed it.
CLOSED = (ConnectionError, native_ssl.SSLEOFError, native_ssl.SSLZeroReturnError)


class Context:
    """A verified TLS context for one host, on gevent's sockets.

    A context of the standard library's own class, made before a late patch or in a process that is not patched, would
    wrap native sockets; and setting one of its properties after the patch ends in a RecursionError. urllib3 sets them
    even where they have the value already.

    Args:
        native: an `ssl.SSLContext`, of gevent's class or the standard library's.
        host: whose certificate is expected. urllib3 1.26 does not say when it is an address, and nothing would match.
    """

    def __init__(self, native: Any, host: str) -> None:
        self.__dict__.update(_native=native, _host=host.split("%")[0].rstrip("."))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._native, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if getattr(self._native, name) != value:
            setattr(self._native, name, value)

    def wrap_socket(self, sock: Any, server_hostname: str | None = None, **options: Any) -> Any:
        """Speak TLS on a gevent socket that is connected; it is closed when that fails.

        Raises:
            OSError: the other side is gone, or its certificate is not to be trusted.
        """
        name = server_hostname or self._host
        sock.getpeername()  # raises when the other side is gone; gevent's class would leave the socket open then
        options["do_handshake_on_connect"] = False
        wrapped = gevent.ssl.SSLSocket(sock=sock, _context=self._native, server_hostname=name, **options)
        try:
            wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    def wrap_bio(self, *args: Any, server_hostname: str | None = None, **options: Any) -> Any:
        """TLS within TLS: to an https origin through an https proxy."""
        return self._native.wrap_bio(*args, server_hostname=server_hostname or self._host, **options)


def make_context() -> Any:
    """A verified TLS context on gevent's sockets, with the certificates that requests would use."""
    context = gevent.ssl.SSLContext(gevent.ssl.PROTOCOL_TLS_CLIENT)
    bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if bundle:
        context.load_verify_locations(**{"capath" if os.path.isdir(bundle) else "cafile": bundle})
        return context
    context.load_default_certs()  # OpenSSL reads SSL_CERT_FILE and SSL_CERT_DIR
    if not _has_certificates(context):
        _load_certifi(context)
    return context


def _has_certificates(context: Any) -> bool:
    """Whether this system has certificates, or the user has said where they are: then no others are added."""
    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR") or context.cert_store_stats()["x509_ca"]:
        return True
    # A directory's certificates are loaded when one is looked for, so they are not in the store's count yet.
    directory = native_ssl.get_default_verify_paths().capath
    return bool(directory and os.listdir(directory))


def _load_certifi(context: Any) -> None:
    """A slim container has no certificates of its own; most applications bring certifi along."""
    try:
        import certifi
    except ImportError:
        return
    context.load_verify_locations(cafile=certifi.where())
