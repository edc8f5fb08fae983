"""A plugin of pytest, for the SDK's tests: ours takes the place of the built-in dispatcher and processors.

Imported by this name alone, from this directory: the SDK's tests are a package `tests` as well.
"""

# ruff: noqa: E402  # the patch comes first, as in the servers
from __future__ import annotations

from gevent import monkey

monkey.patch_all()

import sys
from fnmatch import fnmatchcase
from typing import Any

import optimizely.event.event_processor
import optimizely.event_dispatcher
import optimizely.optimizely
import pytest

from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.sdk import GeventEventProcessor
from gevent_dispatcher.testing import FakeTransport

FLUSH_SECONDS = 30.0

# What asks for something that ours is not meant to have, each group with its reason.
_NO_REQUESTS = "asserts which calls of requests the built-in dispatcher makes; ours makes none"
_NO_QUEUE_SETTINGS = "asserts the settings of the built-in processor's queue and thread; ours has neither"
_NO_LOG_OF_FLUSHES = "asserts what the built-in thread logs when it flushes; ours has no thread"
_NO_RESTART = "asserts that the built-in thread can be stopped and started; ours has none"
_NO_QUEUE_OVERFLOW = "asserts what the built-in processor logs when its queue is full; ours has no queue"
_OWN_WORDS = "asserts the method by which the built-in processor logs a failed dispatch; ours says it in its own words"
_OWN_DEFAULT = "asserts that the default dispatcher is the built-in class; ours is an instance, which can be flushed"
_OWN_REFUSAL = "asserts that a wrong component makes a client that does nothing; ours raises a TypeError at once"

_BATCH = "test_event_processor.py::BatchEventProcessorTest"
_FORWARDING = "test_event_processor.py::ForwardingEventProcessorTest"
_FACTORY = "test_optimizely_factory.py::OptimizelyFactoryTest"
_CLIENT = "test_optimizely.py::OptimizelyTest"

# By file, class and function, as fnmatch reads them.
SKIPPED = {
    "test_event_dispatcher.py::EventDispatcherTest::*": _NO_REQUESTS,
    f"{_BATCH}::test_init_*": _NO_QUEUE_SETTINGS,
    f"{_BATCH}::test_flush_once_max_timeout": _NO_LOG_OF_FLUSHES,
    f"{_BATCH}::test_stop_and_start": _NO_RESTART,
    f"{_BATCH}::test_warning_log_level_on_queue_overflow": _NO_QUEUE_OVERFLOW,
    f"{_FORWARDING}::test_event_processor__dispatch_raises_exception": _OWN_WORDS,
    f"{_FORWARDING}::test_event_processor_defaults_to_default_event_dispatcher": _OWN_DEFAULT,
    f"{_FACTORY}::test_set_batch_size_and_set_flush_interval_*": _NO_QUEUE_SETTINGS,
    f"{_FACTORY}::test_custom_instance__should_take_event_processor_*": _NO_QUEUE_SETTINGS,
    f"{_FACTORY}::test_default_instance__should_create_config_manager_when_params_are_set_valid": _NO_QUEUE_SETTINGS,
    f"{_FACTORY}::test_default_instance__should_create_config_set_default_values_params__invalid": _NO_QUEUE_SETTINGS,
    f"{_CLIENT}::test_init__invalid_event_dispatcher__logs_error": _OWN_REFUSAL,
    f"{_CLIENT}::test_init__invalid_notification_center__logs_error": _OWN_REFUSAL,
}


def reason_to_skip(name: str) -> str | None:
    """Why a test is not run, None when it is.

    Args:
        name: its file, class and function, with `::` between them.
    """
    return next((reason for pattern, reason in SKIPPED.items() if fnmatchcase(name, pattern)), None)


class Dispatcher(GeventEventDispatcher):
    """Ours, over a transport that sends nothing: the tests name the real endpoint."""

    def __init__(self) -> None:
        super().__init__(transport=FakeTransport())


_dispatcher = Dispatcher()


class Processor(GeventEventProcessor):
    """Ours, made with what the built-in ones are made with.

    Attributes:
        event_queue: the test's own, which ours leaves as it is: nothing ever waits there.
    """

    def __init__(
        self,
        event_dispatcher: Any,
        logger: Any = None,
        start_on_init: bool = False,
        event_queue: Any = None,
        batch_size: Any = None,
        flush_interval: Any = None,
        timeout_interval: Any = None,
        notification_center: Any = None,
    ) -> None:
        dispatcher = _dispatcher if event_dispatcher is Dispatcher or event_dispatcher is None else event_dispatcher
        super().__init__(dispatcher, logger, notification_center)
        self.event_queue = event_queue


class ForwardingProcessor(GeventEventProcessor):
    """The same, in the place of the one that is made with less."""

    def __init__(self, event_dispatcher: Any, logger: Any = None, notification_center: Any = None) -> None:
        super().__init__(_dispatcher if event_dispatcher is None else event_dispatcher, logger, notification_center)


def _take_their_place() -> None:
    """In each module of the SDK that has them, under whatever name: which are the defaults differs between versions."""
    ours = {
        optimizely.event_dispatcher.EventDispatcher: Dispatcher,
        optimizely.event.event_processor.BatchEventProcessor: Processor,
        optimizely.event.event_processor.ForwardingEventProcessor: ForwardingProcessor,
    }
    for module in [module for name, module in sys.modules.items() if name.partition(".")[0] == "optimizely"]:
        for name, value in list(vars(module).items()):
            if isinstance(value, type) and value in ours:
                setattr(module, name, ours[value])


_take_their_place()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what asserts on the insides of the built-in ones."""
    for item in items:
        # What stands before the class in the node's id differs between versions of pytest.
        reason = reason_to_skip(f"{item.path.name}::{'::'.join(item.nodeid.split('::')[1:])}")
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """What the tests did not keep to themselves has gone through our dispatcher, and must have come out of it."""
    is_empty = _dispatcher.flush(FLUSH_SECONDS)
    stats = _dispatcher.stats()
    print(f"\nour dispatcher: {stats.dispatched} dispatched, {stats.delivered} delivered")
    if not is_empty or stats.delivered != stats.dispatched:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
