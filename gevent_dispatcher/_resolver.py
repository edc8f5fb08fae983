"""Name look-ups that never take more than one resolver thread per name.

`gevent.Timeout` frees the greenlet that waits for a look-up, not the thread that is stuck in it, and these threads are
the application's too. So a look-up that is under way is joined, a timed-out one included, and its answer is shared; and
there are only so many at once.
"""

from __future__ import annotations

import ipaddress
import socket as native_socket
from typing import Any

import gevent
from gevent import monkey
from gevent import socket as gevent_socket
from gevent.event import AsyncResult
from gevent.lock import BoundedSemaphore

_native_getaddrinfo = monkey.get_original("socket", "getaddrinfo")

# Look-ups at once. gevent's hub has ten threads: most are left to the application however many of our names hang.
_MOST_THREADS = 4


class Resolver:
    """The look-ups of one process."""

    def __init__(self) -> None:
        self._running: dict[str, AsyncResult] = {}
        self._threads = BoundedSemaphore(_MOST_THREADS)

    def resolve(self, host: str, port: int, timeout: float) -> list[Any]:
        """Addresses of a host as `getaddrinfo` gives them.

        Args:
            host: a name or a numeric address.
            port: 1 to 65535.
            timeout: seconds to wait for the answer.

        Raises:
            OSError: the name has no address (`socket.gaierror`), or the look-up took too long (`socket.timeout`).
        """
        if _is_numeric(host):
            return list(_native_getaddrinfo(host, port, 0, native_socket.SOCK_STREAM))
        answer = self._look_up(host).wait(timeout)
        if answer is None:
            raise native_socket.timeout("looking the name up timed out")
        if isinstance(answer, OSError):
            raise answer
        return [(*how, (address[0], port, *address[2:])) for *how, address in answer]

    def _look_up(self, host: str) -> AsyncResult:
        running = self._running.get(host)
        if running is None:
            running = self._running[host] = AsyncResult()
            gevent.spawn(self._run, host, running)
        return running

    def _run(self, host: str, answer: AsyncResult) -> None:
        try:
            with self._threads:
                if answer.linkcount():  # else nobody waits for it any more
                    answer.set(_getaddrinfo(host))
        except OSError as error:
            answer.set(error)
        except UnicodeError:
            answer.set(native_socket.gaierror(native_socket.EAI_NONAME, "the name is malformed"))
        finally:
            del self._running[host]


def _getaddrinfo(host: str) -> Any:
    try:
        return gevent_socket.getaddrinfo(host, None, 0, native_socket.SOCK_STREAM)
    except RuntimeError:  # at the interpreter's end no resolver thread can be had
        return _native_getaddrinfo(host, None, 0, native_socket.SOCK_STREAM)


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host.split("%")[0])
    except ValueError:
        return False
    return True
