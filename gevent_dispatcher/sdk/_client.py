"""The SDK's client, wired so that events go straight to a dispatcher and nothing of it is lost in a fork."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Callable, Mapping, cast

from optimizely.exceptions import InvalidInputException
from optimizely.optimizely import Optimizely

from gevent_dispatcher.sdk._polling import GeventAuthDatafilePollingConfigManager, GeventPollingConfigManager
from gevent_dispatcher.sdk._processor import GeventEventProcessor

if TYPE_CHECKING:
    from typing import TypeVar

    from typing_extensions import ParamSpec

    _P = ParamSpec("_P")
    _T = TypeVar("_T")

_REPLACED = {
    "event_processor": "create_client makes the event processor itself. With a processor of your own, call"
    " optimizely.Optimizely(...) and give both the same notification_center.",
    "event_processor_options": "they would have no effect, because the SDK's batch processor is replaced."
    " Set batch_size and flush_interval on the dispatcher:"
    " create_client(..., event_dispatcher=GeventEventDispatcher(batch_size=100, flush_interval=1.0)).",
}
# SDK 3 and 4 have no ODP, and no settings for it.
_HAS_ODP = "settings" in inspect.signature(Optimizely).parameters


def _takes_what(constructor: Callable[_P, _T]) -> Callable[[Callable[..., _T]], Callable[_P, _T]]:
    """Lend a function the parameters of a constructor, for type checkers and editors."""

    def lend(function: Callable[..., _T]) -> Callable[_P, _T]:
        return cast("Callable[_P, _T]", function)

    return lend


@_takes_what(Optimizely)
def create_client(*args: Any, **kwargs: Any) -> Optimizely:
    """Make an Optimizely client whose events go straight to a dispatcher, and which may be made before a fork.

    `client.close()` closes the dispatcher when create_client made it, and flushes one that was handed in. SDK 3 and 4
    have no `client.close()`: call `client.event_processor.stop()` and `client.config_manager.stop()`. At the end of the
    process polling ends and queued ODP events are sent, for at most about a second, before the last events are.

    With `sdk_key` polling for the datafile starts here, as the SDK's does. The child of a fork serves the datafile that
    its parent had and polls for itself from its first use of the client on; without one it waits for the first, as long
    as the SDK does (10 s at most). A fork waits up to a second for a datafile that is just being fetched by a thread.
    The same holds of the queue of ODP events. A `config_manager` or an ODP event manager of your own stays as it is:
    for another update interval before a fork, give a `GeventPollingConfigManager`.

    Polling is done by requests: imported before a late `monkey.patch_all()`, it fails on every HTTPS url with a
    RecursionError, so patch first, at the top of gunicorn.conf.py with --preload.

    Args:
        *args: what `optimizely.optimizely.Optimizely` takes.
        **kwargs: the same, by name; `event_dispatcher` is a new `GeventEventDispatcher()` unless given.

    Raises:
        ValueError: `event_processor` or `event_processor_options` was given.
        TypeError: an argument that this version of the SDK does not have, a dispatcher without dispatch_event, or a
            notification_center that is not the SDK's.
    """
    given = inspect.signature(Optimizely).bind(*args, **kwargs).arguments
    _refuse_replaced(given)
    processor = GeventEventProcessor(
        given.get("event_dispatcher"), given.get("logger"), given.get("notification_center")
    )
    given["event_dispatcher"] = processor.event_dispatcher
    given["notification_center"] = processor.notification_center
    given["event_processor"] = processor
    if _HAS_ODP:  # pragma: no branch  # the SDK before 5
        given["settings"] = _with_odp(given.get("settings"), processor.logger)
    if given.get("sdk_key") and not given.get("config_manager"):
        return _polling_client(given, processor)
    return Optimizely(**given)


def _polling_client(given: dict[str, Any], processor: GeventEventProcessor) -> Optimizely:
    try:
        manager = _polling_manager(given, processor)
    except InvalidInputException:
        # The client will say the same of the same input, in its own way.
        return Optimizely(**given)
    client = Optimizely(**{**given, "config_manager": manager})
    if not client.is_valid:
        manager.stop()
    return client


def _polling_manager(given: Mapping[str, Any], processor: GeventEventProcessor) -> GeventPollingConfigManager:
    options = {
        "sdk_key": given["sdk_key"],
        "datafile": given.get("datafile"),
        "logger": processor.logger,
        "error_handler": given.get("error_handler"),
        "notification_center": processor.notification_center,
        "skip_json_validation": given.get("skip_json_validation", False),
    }
    token = given.get("datafile_access_token")
    if token:
        return GeventAuthDatafilePollingConfigManager(token, **options)
    return GeventPollingConfigManager(**options)


def _with_odp(settings: Any, logger: Any) -> Any:
    from gevent_dispatcher.sdk._odp import with_odp_of_each_process

    return with_odp_of_each_process(settings, logger)


def _refuse_replaced(given: Mapping[str, Any]) -> None:
    for name, reason in _REPLACED.items():
        if given.get(name) is not None:
            raise ValueError(f"{name}: {reason}")
