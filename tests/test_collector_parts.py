"""The collector's parts without a server: what is kept, what is forgotten, how events read, which requests fail."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gevent_dispatcher.collector._book import Book, Filter
from gevent_dispatcher.collector._facts import facts_of
from gevent_dispatcher.collector._faults import Break, Faults, settings_of
from gevent_dispatcher.collector._kept import Envelope
from gevent_dispatcher.collector._pace import Pace
from gevent_dispatcher.collector._reading import read_body
from gevent_dispatcher.collector._recent import Recent, RecentPairs
from gevent_dispatcher.collector._schema import problems
from gevent_dispatcher.collector._sentences import line_of
from gevent_dispatcher.collector._tallies import OTHERS
from tests.events import params, visitor
from tests.floats import floats


def told(event: dict[str, Any], *decisions: dict[str, Any], name: str = "visitor-1") -> str:
    """The line of one event."""
    event = {"uuid": "1", "timestamp": 1, **event}
    payload = params({"visitor_id": name, "snapshots": [{"events": [event], "decisions": list(decisions)}]})
    assert problems(payload) == []
    [facts] = facts_of(payload)
    return line_of(facts, [])


def decision(campaign: str = "7", **metadata: Any) -> dict[str, Any]:
    told = {"metadata": metadata} if metadata else {}
    return {"campaign_id": campaign, "experiment_id": "exp", "variation_id": "var", **told}


ACTIVATED = {"key": "campaign_activated", "entity_id": "7"}
CHECKOUT = {"flag_key": "flow", "rule_key": "checkout", "rule_type": "feature-test", "variation_key": "treatment"}


class TestSentences:
    @pytest.mark.parametrize(
        ("event", "line"),
        [
            ({"key": "purchase"}, 'visitor-1 converted "purchase"'),
            ({"key": "purchase", "revenue": 4200}, 'visitor-1 converted "purchase", revenue 42.00'),
            ({"key": "purchase", "revenue": 5.0}, 'visitor-1 converted "purchase", revenue 0.05'),
            ({"key": "refund", "revenue": -5}, 'visitor-1 converted "refund", revenue -0.05'),
            ({"key": "purchase", "revenue": 0, "value": 2.0}, 'visitor-1 converted "purchase", revenue 0.00, value 2'),
            ({"key": "a", "value": 0.125}, 'visitor-1 converted "a", value 0.125'),
            ({"key": "a", "tags": {"revenue": 100, "value": 3}}, 'visitor-1 converted "a", revenue 1.00, value 3'),
            ({"key": "a", "tags": {"revenue": "100", "value": True}}, 'visitor-1 converted "a"'),
            ({}, "visitor-1 converted an event without a key"),
        ],
    )
    def test_a_conversion(self, event: dict[str, Any], line: str) -> None:
        assert told(event) == line

    @pytest.mark.parametrize(
        ("decisions", "line"),
        [
            ([decision(**CHECKOUT)], "visitor-1 saw variation treatment of experiment checkout"),
            ([decision()], "visitor-1 saw variation var of experiment exp"),
            (
                [decision(rule_type="rollout", rule_key="all", variation_key="on")],
                "visitor-1 saw variation on of rollout all",
            ),
            (
                [{**decision(flag_key="flow", rule_key=""), "experiment_id": "", "variation_id": None}],
                "visitor-1 saw no variation of flag flow",
            ),
            ([decision(), decision(), decision("8")], "visitor-1 saw variation var of experiment exp, and 1 more"),
            ([decision("8"), decision("9")], "visitor-1 saw variation var of experiment exp, and 1 more"),
            ([], "visitor-1 saw no variation, and the event does not say of what"),
            ([decision(rule_key=["a"], variation_key={})], "visitor-1 saw variation var of experiment exp"),
        ],
    )
    def test_a_decision(self, decisions: list[dict[str, Any]], line: str) -> None:
        assert told(ACTIVATED, *decisions) == line
        assert told({"type": "campaign_activated", "entity_id": "7"}, *decisions) == line

    def test_long_names_are_cut(self) -> None:
        assert len(told({"key": "k" * 10_000, "revenue": 10**300}, name="v" * 10_000)) < 400

    def test_a_visitor_without_a_name(self) -> None:
        assert told({"key": "a"}, name="") == 'a visitor without a name converted "a"'

    def test_an_invalid_one(self) -> None:
        [kept] = book_of(params(visitor("a"), {}, account_id=None)).shelf.after(0)
        assert kept.item()["line"] == "a sent an invalid payload: visitors[1].visitor_id: is missing, and 2 more"
        [kept] = book_of(None).shelf.after(0)
        assert kept.item()["line"] == "an invalid payload: payload: must be an object, is null"

    @settings(deadline=None)
    @given(
        st.text(),
        st.none() | st.text(),
        st.none() | st.integers(),
        st.none() | floats(allow_nan=False, allow_infinity=False),
    )
    def test_every_event_has_a_line(self, name: str, key: str | None, revenue: int | None, value: float | None) -> None:
        event = {"key": key, "revenue": revenue, "value": value}
        assert told({name: each for name, each in event.items() if each is not None}, name=name)


def book_of(*payloads: Any, **bounds: int) -> Book:
    """A book in which some payloads were noted, the first at one second past 1970."""
    book = Book(0.0, **bounds)
    for payload in payloads:
        envelope = Envelope(book.number(), float(book.shelf.last + 1), json.dumps(payload).encode(), {})
        book.take(envelope.read(), envelope)
    return book


def numbers(book: Book, after: int = 0) -> list[int]:
    kept = [each.n for each in book.shelf.after(after)]
    assert kept == [each.n for each in book.shelf.newest_first(after)][::-1]
    return kept


class TestWhatIsKept:
    @settings(deadline=None)
    @given(st.lists(st.integers(0, 4), max_size=12), st.integers(1, 7))
    def test_the_last_events(self, sizes: list[int], keep: int) -> None:
        book = book_of(*({**params(), "visitors": [visitor() for _ in range(size)]} for size in sizes), keep=keep)
        last = sum(sizes)
        assert numbers(book) == list(range(max(1, last - keep + 1), last + 1))
        assert len(book.shelf) == min(keep, last)
        for n in range(last + 2):
            kept = book.shelf.get(n)
            assert (kept.n if kept else None) == (n if n in numbers(book) else None)
            assert numbers(book, n) == [each for each in numbers(book) if each > n]
            assert book.shelf.dropped(n) + len(numbers(book, n)) == max(0, last - n)

    def test_no_more_bytes_than_wanted(self) -> None:
        size = len(json.dumps(params(visitor("a"))))
        book = book_of(*(params(visitor("a")) for _ in range(10)), keep_bytes=3 * size + 1)
        assert numbers(book) == [8, 9, 10]
        envelope = Envelope(11, 0.0, b"[" * (4 * size), {})
        book.take(envelope.read(), envelope)
        assert numbers(book) == []
        assert book.ledger.totals().invalid == 1
        assert book.shelf.dropped(0) == 11

    def test_numbers_go_on_after_a_reset(self) -> None:
        book = book_of(params(), params())
        book.reset(5.0)
        assert (numbers(book), book.shelf.dropped(0), book.shelf.dropped(1)) == ([], 0, 0)
        envelope = Envelope(1, 0.0, json.dumps(params()).encode(), {})
        book.take(envelope.read(), envelope)
        assert (numbers(book), book.shelf.dropped(0)) == ([3], 0)

    def test_a_look_goes_on_where_the_last_one_ended(self) -> None:
        book = book_of(*(params(visitor(name)) for name in "abababab"))
        wanted, seen, last = Filter(visitor="b"), [], 0
        while True:
            found, last = book.find(wanted, last, 3)
            if not found:
                break
            seen += [each.n for each in found]
        assert (seen, last) == ([2, 4, 6, 8], 8)
        assert [each.n for each in book.find(wanted, None, 3)[0]] == [4, 6, 8]

    def test_deep_nesting_is_told_of(self) -> None:
        deep: Any = []
        for _ in range(100):
            deep = [deep]
        [kept] = book_of({**params(), "x": deep}).shelf.after(0)
        assert kept.details()["envelope"]["x"] == deep
        assert kept.details(as_text=True)["visitor"].startswith('{"visitors"')


class TestSummary:
    def test_counts_keys_and_variations(self) -> None:
        snapshot = {"events": [{"uuid": "1", "timestamp": 1, **ACTIVATED}], "decisions": [decision(**CHECKOUT)]}
        book = book_of(params({"visitor_id": "a", "snapshots": [snapshot]}, visitor("b"), visitor("b")), "nonsense")
        summary = book.summary()
        assert summary["keys"] == {"campaign_activated": 1, "purchase": 2}
        assert summary["experiments"] == {"checkout": {"treatment": 1}}
        assert (summary["valid"], summary["invalid"], summary["events"], summary["kept"]) == (3, 1, 3, 4)

    def test_an_event_without_a_key_counts_and_is_under_none(self) -> None:
        bare = {"visitor_id": "a", "snapshots": [{"events": [{"uuid": "1", "timestamp": 1}]}]}
        summary = book_of(params(bare)).summary()
        assert (summary["keys"], summary["valid"]) == ({}, 1)

    def test_names_are_bounded(self) -> None:
        book = book_of(params(*(visitor(key=f"key {n}" + "x" * 1_000) for n in range(1_500))))
        keys = book.summary()["keys"]
        assert (len(keys), keys[OTHERS], sum(keys.values())) == (1_001, 500, 1_500)
        assert max(map(len, keys)) == 200


class TestRecent:
    @settings(deadline=None)
    @given(st.lists(st.text("abcdef", max_size=3)), st.integers(1, 8), st.integers(3, 12))
    def test_what_was_not_seen_for_longest_is_forgotten(self, names: list[str], most: int, characters: int) -> None:
        recent, order, distinct = Recent(most, characters), [], 0
        for name in names:
            assert recent.add(name) is (name in order)
            distinct += name not in order
            order = [*(each for each in order if each != name), name]
            while len(order) > most or sum(map(len, order)) > characters:
                del order[0]
        assert (list(recent.counts()), recent.distinct) == (order, distinct)

    @settings(deadline=None)
    @given(st.lists(st.tuples(st.sampled_from("abc"), st.text("xyz", max_size=2))), st.integers(1, 6))
    def test_pairs_are_bounded_too(self, pairs: list[tuple[str, str]], most: int) -> None:
        recent = RecentPairs(most, 10)
        for name, key in pairs:
            recent.add(name, key)
            counts = recent.counts()
            assert sum(map(len, counts.values())) <= most
            assert sum(len(name) + sum(map(len, keys)) for name, keys in counts.items()) <= 10

    def test_all_is_counted_while_there_is_room(self) -> None:
        recent = RecentPairs(100)
        for name, key in [("a", "x"), ("b", "x"), ("a", "y"), ("a", "x")]:
            recent.add(name, key)
        assert (recent.counts(), recent.distinct) == ({"b": {"x": 1}, "a": {"x": 2, "y": 1}}, 2)


class TestFaults:
    def test_a_share_fails_the_same_each_time(self) -> None:
        faults = Faults(status=503, rate=0.2)
        drawn = [faults.draw(chance) for chance in [Random(1)] for _ in range(10_000)]
        assert set(drawn) == {204, 503}
        assert 1_800 < drawn.count(503) < 2_200
        assert drawn == [faults.draw(chance) for chance in [Random(1)] for _ in range(10_000)]

    def test_several_ways_share_it(self) -> None:
        drawn = [Faults(503, 0.9, hang=True, reset=True).draw(chance) for chance in [Random(1)] for _ in range(3_000)]
        assert {each: 750 < drawn.count(each) < 1_050 for each in (503, Break.HANG, Break.RESET)} == {
            503: True,
            Break.HANG: True,
            Break.RESET: True,
        }

    def test_all_or_none_fail(self) -> None:
        assert {Faults(hang=True).draw(Random(n)) for n in range(100)} == {Break.HANG}
        assert {Faults(reset=True, rate=0).draw(Random(n)) for n in range(100)} == {204}
        assert {Faults(rate=1).draw(Random(n)) for n in range(100)} == {204}

    @pytest.mark.parametrize(
        ("settings", "reason"),
        [
            ({"status": 99}, "status=99: must be a whole number from 200 to 599"),
            ({"status": 503.0}, "status=503.0: must be a whole number from 200 to 599"),
            ({"rate": 1.1}, "rate=1.1: must be a share from 0 to 1"),
            ({"rate": float("nan")}, "rate=nan: must be a share from 0 to 1"),
            ({"latency": "1"}, "latency='1': must be a number of seconds from 0 to 3600"),
            ({"latency": True}, "latency=True: must be a number of seconds from 0 to 3600"),
            ({"hang": 1}, "hang=1: must be true or false"),
            ({"strict": None}, "strict=None: must be true or false"),
        ],
    )
    def test_what_cannot_be_is_refused(self, settings: dict[str, Any], reason: str) -> None:
        with pytest.raises(ValueError, match="must be") as raised:
            Faults(**settings)
        assert str(raised.value) == reason

    @pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"x": 1}', b'{"status": 1, "": 2}'])
    def test_a_body_without_settings_is_refused(self, body: bytes) -> None:
        with pytest.raises(ValueError, match="status, rate, latency, hang, reset, strict"):
            settings_of(body)


class TestPace:
    def test_tells_each_second_once_it_is_over(self) -> None:
        pace = Pace()
        pace.note(10.2, 3, 0.010)
        pace.note(10.9, 1, 0.030)
        pace.note(12.0, 0, 0.001)
        assert pace.ticks(0, 10.99) == []
        ten = {"at": 10, "events": 4, "requests": 2, "ms": 20.0, "max_ms": 30.0}
        assert pace.ticks(0, 12.5) == [ten]
        assert [each["at"] for each in pace.ticks(10, 13.0)] == [12]
        assert (pace.is_counting(11), pace.is_counting(12)) == (True, False)

    def test_remembers_the_last_minute(self) -> None:
        pace = Pace()
        for second in range(200):
            pace.note(float(second), 1, 0.0)
        assert [each["at"] for each in pace.ticks(0, 200.0)] == list(range(140, 200))


def test_reading_never_raises_and_says_what_is_wrong() -> None:
    for content in (b"\x00", b'"\\ud800"', b'{"visitors": "\\ud800"}', b"1" * 10_000, b"-", b'{"a":1,}'):
        assert read_body(content).problems
