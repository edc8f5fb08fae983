"""The SDK's queue of ODP events, once per process; SDK 5 and later have one."""

from __future__ import annotations

import copy
from typing import Any

from optimizely.helpers.sdk_settings import OptimizelySdkSettings
from optimizely.odp.odp_config import OdpConfig
from optimizely.odp.odp_event_manager import OdpEventManager

from gevent_dispatcher._pid import this_process
from gevent_dispatcher.sdk._loop import Loop


class _NotOurs(Exception):
    """A greenlet that a fork has doubled wanted to send its parent's events."""


class _SenderLoop(Loop):
    # A flush is one request, as a rule of some tenths; the events' own close_timeout comes on top.
    exit_patience = 1.0

    def __init__(self, sender: _Sender) -> None:
        super().__init__()
        self._sender = sender

    def work(self) -> None:
        self._sender._run()

    def end(self) -> None:
        if self.is_alive():
            self._sender.stop()


class _Sender(OdpEventManager):
    """The SDK's own, for one process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.thread: Any = _SenderLoop(self)

    def _flush_batch(self) -> None:
        if not self.thread.is_ours():
            raise _NotOurs
        with self.thread.busy():
            super()._flush_batch()


class GeventOdpEventManager:
    """The SDK's OdpEventManager, one in each process: its thread does not survive a fork, and its queue must not.

    Args:
        *args: what the SDK's OdpEventManager takes.
        **kwargs: the same, by name.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._arguments = args, kwargs
        self._senders: dict[tuple[int, int], _Sender] = {}
        self._odp_config: OdpConfig | None = None

    def start(self, odp_config: OdpConfig) -> None:
        """Take events from now on, in this process and in those that it forks.

        Args:
            odp_config: the SDK's.
        """
        self._odp_config = odp_config
        self._sender()

    def stop(self) -> None:
        """Send what is queued and take no more events, in this process and in those that it forks from now on."""
        sender = self._sender()
        self._odp_config = None
        sender.stop()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sender(), name)

    def _sender(self) -> _Sender:
        sender = self._senders.get(this_process())
        if sender is None:
            args, kwargs = self._arguments
            sender = self._senders.setdefault(this_process(), _Sender(*args, **kwargs))
        if sender.thread.is_unstarted and self._odp_config is not None:
            sender.start(self._odp_config)
        return sender


def with_odp_of_each_process(settings: Any, logger: Any) -> Any:
    """The SDK's settings, with an ODP event manager that survives forks where the user has given none.

    Args:
        settings: the user's, which stay as they are, or None.
        logger: the client's.
    """
    found = OptimizelySdkSettings() if settings is None else settings
    if not isinstance(found, OptimizelySdkSettings) or found.odp_disabled or found.odp_event_manager:
        return settings
    changed: Any = copy.copy(found)
    changed.odp_event_manager = GeventOdpEventManager(
        logger, request_timeout=found.odp_event_timeout, flush_interval=found.odp_flush_interval
    )
    return changed
