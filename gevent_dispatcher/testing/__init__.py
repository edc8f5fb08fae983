"""For the tests of applications: what would be sent is kept in memory, scripted, or received by a local Event API.

    recorder = RecordingDispatcher()
    client = create_client(datafile, event_dispatcher=recorder)
    client.create_user_context("alice").track_event("purchase", {"revenue": 4200})
    recorder.assert_tracked("purchase", visitor="alice", revenue=4200)

Nothing here needs pytest but the fixtures; see `gevent_dispatcher.testing.fixtures`.
"""

from __future__ import annotations

from gevent_dispatcher.testing._collector import LiveCollector, events_sent_to
from gevent_dispatcher.testing._events import RecordedEvent
from gevent_dispatcher.testing._recorder import RecordingDispatcher, Refusal
from gevent_dispatcher.testing._transport import NO_ANSWER, FakeTransport, after

__all__ = [
    "NO_ANSWER",
    "FakeTransport",
    "LiveCollector",
    "RecordedEvent",
    "RecordingDispatcher",
    "Refusal",
    "after",
    "events_sent_to",
]
