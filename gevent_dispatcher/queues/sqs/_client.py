"""One process's client of SQS: all that knows botocore.

In a patched process botocore waits cooperatively. In one that is not each call is made in a native thread, and the hub
goes on meanwhile. Importing botocore and making a client would stop the hub for a tenth of a second, so that happens in
the hub's threadpool, at the first call.
"""

from __future__ import annotations

import sys
from importlib import import_module
from time import monotonic
from typing import Any, Callable, TypeVar

import gevent
from gevent import events, get_hub, monkey
from gevent._hub_local import get_hub_if_exists
from gevent.lock import BoundedSemaphore
from gevent.threadpool import ThreadPool

from gevent_dispatcher import _home
from gevent_dispatcher._json import decode_fast
from gevent_dispatcher._threads import off_hub, outcome_of
from gevent_dispatcher.queues._protocol import QueueError, QueueUnavailable, QueueUncertain
from gevent_dispatcher.queues._thread import check_that_the_caller_may_wait
from gevent_dispatcher.queues.sqs._faults import checked, explain
from gevent_dispatcher.queues.sqs._settings import LONGEST_POLL, Settings, is_client

T = TypeVar("T")

# Calls at once beside those that ask for messages: putting, deleting, extending, and somebody who looks.
BESIDE_POLLS = 8
_OK = 200
# The longest that a connection may take to be opened, in seconds.
_CONNECT = 3.0


class Client:
    """Calls SQS for one opened queue.

    Args:
        settings: of the queue.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._connections = settings.polls + BESIDE_POLLS
        self._loading = BoundedSemaphore(1)
        self._client: Any = None
        self._is_patched = False  # when the client was made
        self._pools: dict[int, Any] = {}  # by native thread: of callers in a process that is not patched
        self._is_closed = False

    def call(self, operation: str, seconds: float = 0.0, **parameters: Any) -> dict[str, Any]:
        """Make a call, wait for its result without holding the hub, and never repeat it: that is for others to decide.

        Args:
            operation: the client's method.
            seconds: how long SQS itself may wait, beside the `timeout` that is set.
            parameters: of the call.

        Raises:
            QueueError: it failed, or there was no answer in time.
        """
        if self._is_closed:
            raise QueueUnavailable("the queue is closed")
        limit = self._settings.timeout + seconds
        deadline = monotonic() + limit
        try:
            client = self._within(limit, self._loaded, QueueUnavailable(f"no client of SQS within {limit:g} s"))
            method = getattr(client, operation)
            silence = QueueUncertain(f"SQS did not answer within {limit:g} s")
            left = max(deadline - monotonic(), 0.001)
            return checked(dict(self._within(left, lambda: self._done(lambda: method(**parameters)), silence)))
        except QueueError:
            raise
        except Exception as error:
            raise explain(error, operation) from None  # its text may hold what was sent

    def close(self) -> None:
        """Let the threads end, and close the connections of a client that was made here."""
        self._is_closed = True
        for pool in self._pools.values():
            pool.maxsize = 0
        client, self._client = self._client, None
        if client is not None and client is not self._settings.client:
            client.close()

    # -- waiting -------------------------------------------------------------------------------------------------------

    def _within(self, seconds: float, work: Callable[[], T], otherwise: Exception) -> T:
        check_that_the_caller_may_wait()
        if get_hub_if_exists() is None and not _home.is_patched():
            return work()  # nobody else is held up, and the client has timeouts of its own
        timeout = gevent.Timeout(seconds)
        timeout.start()
        try:
            return work()
        except gevent.Timeout as fired:
            if fired is timeout:
                raise otherwise from None
            raise
        finally:
            timeout.close()

    def _done(self, work: Callable[[], Any]) -> Any:
        """In the greenlet where sockets are gevent's, else in a native thread."""
        if _home.is_patched() or get_hub_if_exists() is None:
            return work()
        value, error = self._in_a_thread(work)
        if error is not None:
            raise error
        return value

    def _in_a_thread(self, work: Callable[[], Any]) -> tuple[Any, Exception | None]:
        """What crosses the threadpool crosses as a value: an exception would print a traceback."""
        pool = self._pools.get(_home.get_ident())
        if pool is None:
            pool = self._pools[_home.get_ident()] = ThreadPool(self._connections, hub=get_hub())
        try:
            result = pool.spawn(outcome_of, work)
        except RuntimeError:  # at the end of the interpreter no thread can be had, and nobody is left to be held up
            return outcome_of(work)
        return result.get()  # type: ignore[no-any-return]  # gevent is not typed

    # -- the client ----------------------------------------------------------------------------------------------------

    def _loaded(self) -> Any:
        if self._client is None or self._is_patched != _home.is_patched():
            with self._loading:
                if self._client is None or self._is_patched != _home.is_patched():
                    self._is_patched = _home.is_patched()
                    self._client = self._load()
        return self._client

    def _load(self) -> Any:
        given = self._settings.client
        if given is not None and is_client(given):
            return given
        return _quickened(self._made_here() if given is None else off_hub(given))

    def _made_here(self) -> Any:
        session = off_hub(_import_botocore)
        credentials = self._done(session.get_credentials)  # it may have to ask the machine's own metadata service
        if credentials is None:
            raise QueueUnavailable("no AWS credentials were found: give this process a role, or set its environment")
        return off_hub(lambda: self._made(session))

    def _made(self, session: Any) -> Any:
        settings = self._settings
        region = settings.region or settings.region_of_url or session.get_config_variable("region")
        if not region:
            raise QueueUnavailable("the queue's url names no region: give region=, or set AWS_DEFAULT_REGION")
        config = import_module("botocore.config").Config(
            retries={"total_max_attempts": 1},  # ours would be multiplied
            max_pool_connections=self._connections,
            connect_timeout=min(_CONNECT, settings.timeout),
            read_timeout=settings.timeout + LONGEST_POLL,
            parameter_validation=False,  # they are ours, and checked
        )
        return session.create_client("sqs", region_name=region, endpoint_url=settings.endpoint, config=config)


def _quickened(client: Any) -> Any:
    """A client that reads messages by the quickest reader at hand: they are JSON in JSON, which takes json its time."""
    emitter = getattr(getattr(client, "meta", None), "events", None)
    if emitter is not None:  # else it is like a client of botocore's, and no more
        emitter.register("before-parse.sqs.ReceiveMessage", read_messages)
    return client


def read_messages(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Read an answer in botocore's place, before it does; whatever is not as expected is left to it.

    Args:
        response_dict: the answer: `status_code` and `body` are looked at; what was read is taken out of it.
        customized_response_dict: takes the place of what botocore reads, by name.
    """
    read = decode_fast(response_dict["body"]) if response_dict["status_code"] == _OK else None
    if isinstance(read, dict) and isinstance(read.get("Messages"), list):
        customized_response_dict["Messages"] = read["Messages"]
        response_dict["body"] = b"{}"


# What was imported here first, and is forgotten when ssl is patched after it (see `_transport`).
_first_here: set[str] = set()


def _import_botocore() -> Any:
    if not monkey.is_module_patched("ssl"):
        _first_here.update({"botocore", "urllib3"} - sys.modules.keys())
        if _forget not in events.subscribers:
            events.subscribers.append(_forget)
    return import_module("botocore.session").Session()


def _forget(event: object) -> None:
    if isinstance(event, events.GeventDidPatchModuleEvent) and event.module_name == "ssl":
        for name in [name for name in sys.modules if name.split(".")[0] in _first_here]:
            del sys.modules[name]
