"""The collector's page, in a real browser."""

from __future__ import annotations

import itertools
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from time import monotonic
from typing import Any, Iterator
from urllib.parse import urlsplit

import gevent
import pytest
from optimizely.event import event_factory

from gevent_dispatcher.collector import Collector
from gevent_dispatcher.sdk import create_client
from tests import browser as browsers
from tests.browser import Browser
from tests.events import params, visitor
from tests.pages import assert_fits, assert_named, assert_readable, focused, in_sight, tab_to, watch, watched
from tests.waiting import wait_until

DATAFILE = (Path(__file__).parent.parent / "examples" / "datafile.json").read_text(encoding="utf-8")

ROWS = "#rows .row:not(.gap)"
LINES = "#rows .sentence"
OPENED = "#detail-content .line"
TREE = "#detail-content .tree"


# -- the stage ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    reason = browsers.missing()
    if reason and os.environ.get("REQUIRE_BROWSER"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)
    with Browser() as running:
        yield running


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


@pytest.fixture
def page(browser: Browser, collector: Collector) -> Iterator[Browser]:
    """The page, open and connected; afterwards nothing may have been complained of, or asked of anybody else."""
    browser.requests()
    browser.complaints()
    show(browser, collector.base_url)
    yield browser
    complaints, requests = browser.complaints(), browser.requests()
    browser.leave()
    assert complaints == []
    assert {origin(url) for url in requests} <= {collector.base_url, "data:"}


def show(browser: Browser, url: str) -> None:
    browser.open(url)
    wait_until(lambda: browser.text("#state") == "live")


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else f"{parts.scheme}:"


# -- what is sent ------------------------------------------------------------------------------------------------------


def post(collector: Collector, payload: object) -> int:
    """Send a payload; returns the answer's status."""
    request = urllib.request.Request(collector.url, json.dumps(payload).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def send(collector: Collector, *visitors: dict[str, Any]) -> None:
    assert post(collector, params(*visitors)) == 204


def impression(name: str, experiment: str = "checkout", variation: str = "treatment") -> dict[str, Any]:
    """One visitor with one decision, as the SDK makes them."""
    metadata = {"flag_key": "flow", "rule_key": experiment, "rule_type": "experiment", "variation_key": variation}
    decision = {"campaign_id": "10", "experiment_id": "11", "variation_id": "12", "metadata": metadata}
    shown = visitor(name, "campaign_activated")
    shown["snapshots"][0]["decisions"].append(decision)
    return shown


def purchase(name: str, revenue: int = 4200) -> dict[str, Any]:
    bought = visitor(name)
    bought["snapshots"][0]["events"][0].update(revenue=revenue, tags={"revenue": revenue})
    return bought


def faults(collector: Collector) -> Any:
    with urllib.request.urlopen(f"{collector.base_url}/api/faults", timeout=10) as answer:
        return json.load(answer)


# -- what is seen ------------------------------------------------------------------------------------------------------


class TestEvents:
    def test_the_events_of_the_sdk_read_like_english(
        self, page: Browser, collector: Collector, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        regions = {"US": collector.url, "EU": collector.url}
        monkeypatch.setattr(event_factory.EventFactory, "EVENT_ENDPOINTS", regions, raising=False)
        monkeypatch.setattr(event_factory.EventFactory, "EVENT_ENDPOINT", collector.url, raising=False)
        client = create_client(DATAFILE)
        user = client.create_user_context("alice")
        variation = user.decide("checkout_flow").variation_key
        user.track_event("purchase", {"revenue": 4200})
        client.close()
        lines = wait_until(lambda: len(page.texts(LINES)) == 2 and page.texts(LINES))
        assert lines == [
            'alice converted "purchase", revenue 42.00',
            f"alice saw variation {variation} of experiment checkout_one_page",
        ]
        assert page.texts(f"{LINES} b") == ["alice", "purchase", "alice", variation, "checkout_one_page"]
        assert page.texts(".badge") == []

    def test_the_empty_page_teaches_and_its_samples_are_valid(self, page: Browser, collector: Collector) -> None:
        assert "Waiting for the first event" in page.text("#welcome")
        assert collector.url in page.text("#teach-python")
        assert collector.url in page.text("#teach-curl")
        page.click("#sample")
        wait_until(lambda: page.count(ROWS) == 2)
        assert page.texts("#welcome") == []
        assert page.texts(".badge") == []
        assert collector.counts()["invalid"] == 0

    def test_totals_and_charts_follow(self, page: Browser, collector: Collector) -> None:
        again = purchase("alice")
        send(collector, again, again, purchase("bruno"))
        wait_until(lambda: page.text("#total-events") == "3")
        totals = {"unique": "2", "duplicated": "1", "invalid": "0", "visitors": "2", "requests": "1"}
        assert {name: page.text(f"#total-{name}") for name in totals} == totals
        wait_until(lambda: page.text("#rate-most") == "most 3")
        wait_until(lambda: "ms" in page.text("#answer-now"))
        assert len(set(page.script("return document.getElementById('rate-line').getAttribute('d')").split(" "))) > 2

    def test_duplicates_and_what_is_invalid_are_marked(self, page: Browser, collector: Collector) -> None:
        again = purchase("alice")
        send(collector, again)
        send(collector, again)
        broken = params(purchase("bruno"))
        del broken["account_id"]
        del broken["visitors"][0]["snapshots"][0]["events"][0]["timestamp"]
        post(collector, broken)
        wait_until(lambda: page.count(ROWS) == 3)
        assert page.texts(".badges") == ["invalid", "duplicate", ""]
        page.click(ROWS, "invalid")
        wait_until(lambda: page.count(".problems li") == 2)
        assert "account_id: is missing" in page.texts(".problems li")
        page.click(ROWS, "duplicate")
        wait_until(lambda: "uuid had come before" in page.text("#detail .note"))

    def test_what_came_before_the_page_is_there(self, browser: Browser, collector: Collector) -> None:
        send(collector, purchase("alice"), purchase("bruno"))
        show(browser, collector.base_url)
        wait_until(lambda: browser.count(ROWS) == 2)
        assert "bruno" in browser.text(ROWS)
        browser.leave()
        browser.complaints()


class TestOneEvent:
    def test_a_click_shows_the_payload(self, page: Browser, collector: Collector) -> None:
        bought = purchase("alice")
        bought["attributes"].append({"entity_id": "7", "key": "plan", "type": "custom", "value": "pro"})
        send(collector, bought)
        page.click(ROWS)
        wait_until(lambda: page.count(TREE) == 1)
        tree = page.text(TREE)
        for written in ('visitor_id: "alice"', 'key: "plan"', 'value: "pro"', "revenue: 4200"):
            assert written in tree
        assert bought["snapshots"][0]["events"][0]["uuid"] in page.text("#detail-content .names")
        page.click("#detail summary", "Around it")
        wait_until(lambda: 'account_id: "1"' in " ".join(page.texts(TREE)))
        page.click("#detail-close")
        assert page.texts("#detail") == []

    def test_the_keyboard_alone_does(self, page: Browser, collector: Collector) -> None:
        send(collector, purchase("alice"), purchase("bruno"), purchase("chiara"))
        wait_until(lambda: page.count(ROWS) == 3)
        page.press("/")
        tab_to(page, "list")
        page.press("ARROW_DOWN", "ARROW_DOWN", "ENTER")
        wait_until(lambda: "bruno" in page.text(OPENED))
        assert focused(page) == "detail-title"
        page.press("j")
        wait_until(lambda: "alice" in page.text(OPENED))
        tab_to(page, "detail-close")
        page.press("ESCAPE")
        assert page.texts("#detail") == []
        assert focused(page) == "list"
        page.press("ARROW_UP", "ENTER")
        wait_until(lambda: "bruno" in page.text(OPENED))

    def test_its_number_is_its_address(self, page: Browser, collector: Collector) -> None:
        send(collector, purchase("alice"), purchase("bruno"))
        wait_until(lambda: page.count(ROWS) == 2)
        page.click(ROWS, "alice")
        wait_until(lambda: "alice" in page.text(OPENED))
        address = page.script("return location.href")
        page.script("history.back()")
        wait_until(lambda: page.texts("#detail") == [])
        show(page, address)
        wait_until(lambda: "alice" in page.text(OPENED))

    def test_one_that_is_no_longer_kept_is_said_to_be(self, browser: Browser, collector: Collector) -> None:
        show(browser, f"{collector.base_url}/#99")
        wait_until(lambda: "cannot be shown" in browser.text("#detail"))
        browser.leave()
        assert ["404" in complaint for complaint in browser.complaints()] == [True]

    def test_numbers_are_shown_as_they_were_sent(self, page: Browser, collector: Collector) -> None:
        exact = purchase("alice")
        exact["snapshots"][0]["events"][0]["tags"].update(long=12345678901234567890, round=7.0)
        send(collector, exact)
        page.click(ROWS)
        wait_until(lambda: page.count(TREE) == 1)
        assert "long: 12345678901234567890" in page.text(TREE)
        assert "round: 7.0" in page.text(TREE)

    def test_the_payload_is_copied_as_it_was_sent(self, page: Browser, collector: Collector) -> None:
        bought = purchase("\u202egnorw \U0001f680")
        bought["snapshots"][0]["events"][0]["tags"].update(long=12345678901234567890, round=7.0, empty="")
        send(collector, bought)
        page.click(ROWS)
        page.click("#detail .quiet", "Copy")
        wait_until(lambda: page.text("#detail .quiet") == "Copied")
        copied = page.copied()
        assert json.loads(copied) == bought
        assert "12345678901234567890" in copied
        assert "7.0" in copied


class TestFinding:
    def test_words_and_kinds(self, page: Browser, collector: Collector) -> None:
        again = impression("chiara", "prices", "high")
        send(collector, impression("alice"), purchase("alice"), purchase("bruno"), again)
        send(collector, again)
        wait_until(lambda: page.texts("[data-chip] .count") == ["5", "3", "2", "0", "1"])
        page.press("/")
        assert focused(page) == "filter"
        page.press("ALICE purch")
        wait_until(lambda: page.texts(LINES) == ['alice converted "purchase", revenue 42.00'])
        assert page.texts("[data-chip] .count") == ["1", "0", "1", "0", "0"]
        page.press("ESCAPE")
        wait_until(lambda: page.count(ROWS) == 5)
        page.type("#filter", again["snapshots"][0]["events"][0]["uuid"])
        wait_until(lambda: page.count(ROWS) == 2)
        page.type("#filter", "nobody")
        wait_until(lambda: "No event matches" in page.text("#no-match"))
        page.click("#all")
        for chip, rows in (("decision", 3), ("conversion", 2), ("duplicate", 1), ("all", 5)):
            page.click(f"[data-chip={chip}]")
            wait_until(lambda rows=rows: page.count(ROWS) == rows)

    def test_a_name_of_an_open_event_filters(self, page: Browser, collector: Collector) -> None:
        send(collector, purchase("alice"), purchase("bruno"), impression("alice"))
        page.click(ROWS, "bruno")
        page.click("#detail .only")
        wait_until(lambda: page.texts(LINES) == ['bruno converted "purchase", revenue 42.00'])

    def test_new_events_are_filtered_too(self, page: Browser, collector: Collector) -> None:
        page.type("#filter", "bruno")
        send(collector, purchase("alice"), purchase("bruno"))
        wait_until(lambda: page.text("#total-events") == "2")
        wait_until(lambda: page.texts(LINES) == ['bruno converted "purchase", revenue 42.00'])


class TestHoldingStill:
    def test_pause_holds_the_list_and_says_what_has_come(self, page: Browser, collector: Collector) -> None:
        send(collector, purchase("alice"))
        wait_until(lambda: page.count(ROWS) == 1)
        page.click("#pause")
        send(collector, purchase("bruno"), purchase("chiara"))
        wait_until(lambda: page.text("#pause") == "Resume (2)")
        assert page.count(ROWS) == 1
        assert page.text("#total-events") == "3"
        page.click("#list")  # leaves the button, whose own key space is, and opens alice
        page.press("ESCAPE", " ")
        wait_until(lambda: page.count(ROWS) == 3)
        assert page.text("#pause") == "Pause"

    def test_what_is_read_does_not_move(self, page: Browser, collector: Collector) -> None:
        send(collector, *(purchase(f"early-{n}") for n in range(100)))
        wait_until(lambda: page.text("[data-chip=all] .count") == "100")
        page.script("document.getElementById('list').scrollTop = 900")
        wait_until(lambda: "early-75" in " ".join(page.texts(LINES)))
        before = in_sight(page)
        send(collector, *(purchase(f"late-{n}") for n in range(50)))
        wait_until(lambda: page.text("#new") == "50 new events")
        assert in_sight(page) == before
        page.click("#new")
        wait_until(lambda: "late-49" in page.text(LINES))
        assert page.texts("#new") == []

    def test_an_open_event_holds_the_list_until_it_is_closed(self, page: Browser, collector: Collector) -> None:
        send(collector, purchase("alice"))
        page.click(ROWS)
        send(collector, purchase("bruno"))
        wait_until(lambda: page.text("#new") == "1 new event")
        assert page.count(ROWS) == 1
        page.press("ESCAPE")
        wait_until(lambda: page.count(ROWS) == 2)


class TestFaults:
    def test_they_are_switched_in_the_page(self, page: Browser, collector: Collector) -> None:
        page.click("#faults-button")
        page.choose("#faults-form [name=status]", "503")
        wait_until(lambda: "answered 503" in page.text("#banner"))
        assert post(collector, params()) == 503
        page.click("#faults-close")
        page.click("#banner-normal")
        wait_until(lambda: page.texts("#banner") == [])
        assert post(collector, params()) == 204

    def test_each_of_them(self, page: Browser, collector: Collector) -> None:
        page.press("f")
        page.type("[name=latency]", "1500")
        wait_until(lambda: faults(collector)["latency"] == 1.5)
        page.script("const rate = document.querySelector('[name=rate]'); rate.value = 20; rate.focus()")
        page.press("ARROW_RIGHT")
        wait_until(lambda: faults(collector)["rate"] == 0.21)
        for name in ("hang", "reset", "strict"):
            page.click(f"[name={name}]")
            wait_until(lambda name=name: faults(collector)[name] is True)
        wait_until(lambda: "takes 1500 ms" in page.text("#banner") and page.text("#strict-mark") == "strict")
        page.click("#normal")
        normal = {"status": 204, "rate": 1.0, "latency": 0.0, "hang": False, "reset": False, "strict": True}
        wait_until(lambda: faults(collector) == normal)
        page.press("ESCAPE")
        assert page.texts("#faults") == []
        assert focused(page) == "faults-button"

    def test_a_day_in_one_click(self, page: Browser, collector: Collector) -> None:
        page.click("#faults-button")
        page.click(".day", "Flaky")
        wait_until(lambda: page.text("#banner-text") == "20 % of requests are answered 500.")
        assert (faults(collector)["status"], faults(collector)["rate"]) == (500, 0.2)

    def test_what_is_set_elsewhere_is_shown(self, page: Browser, collector: Collector) -> None:
        collector.change(status=429)
        wait_until(lambda: "answered 429" in page.text("#banner"))
        page.click("#faults-button")
        assert page.script("return document.querySelector('[name=status]').value") == "429"

    def test_a_value_out_of_range_is_refused_with_the_reason(self, browser: Browser, collector: Collector) -> None:
        show(browser, collector.base_url)
        browser.click("#faults-button")
        browser.type("[name=latency]", "99999999")
        wait_until(lambda: "latency" in browser.text("#faults-error"))
        assert faults(collector)["latency"] == 0
        browser.leave()
        assert ["400" in complaint for complaint in browser.complaints()] == [True]


class TestClearing:
    def test_takes_a_second_press(self, page: Browser, collector: Collector) -> None:
        send(collector, purchase("alice"))
        wait_until(lambda: page.count(ROWS) == 1)
        page.click("#clear")
        assert page.text("#clear") == "Press again to clear"
        assert collector.counts()["events"] == 1
        page.click("#clear")
        wait_until(lambda: "Waiting for the first event" in page.text("#welcome"))
        assert collector.counts()["events"] == 0
        assert page.text("#total-events") == "0"
        send(collector, purchase("bruno"))
        wait_until(lambda: page.count(ROWS) == 1)


# -- what must not hurt ------------------------------------------------------------------------------------------------

HOSTILE = [
    "<script>window.hurt = 1</script>",
    "</script><img src=x onerror='window.hurt = 1'>",
    "</pre></title><svg onload='window.hurt = 1'>",
    "\u202egnorw si tahw\u2066 \u200b\ufeff",
    "\x00\x01\x1b[31m\x7f\x9f\ud800",
    "line\nbreak\ttab\r",
    "\U0001f469\u200d\U0001f680 \U0001f1e8\U0001f1ed e\u0301 \u4f60\u597d \u05e9\u05dc\u05d5\u05dd",
    "__proto__",
    "constructor",
    "{{ 7 * 7 }} ${7 * 7}",
    "javascript:window.hurt=1",
    "x" * 5000,
    "\u0301" * 3000,
]


class TestHostileContent:
    def test_stays_text_and_within_the_page(self, page: Browser, collector: Collector) -> None:
        send(collector, *map(hostile, HOSTILE))
        wait_until(lambda: page.text("[data-chip=all] .count") == str(len(HOSTILE)))
        page.script("window.proto = Object.keys(Object.prototype).length")
        for number in range(1, len(HOSTILE) + 1):
            page.script("location.hash = arguments[0]", f"#{number}")
            wait_until(lambda n=number: page.text("#detail-title") == f"Decision #{n}" and page.count(TREE) == 1)
            page.resize(1280, 800)
            assert_fits(page)
            page.resize(320, 568, mobile=True)
            assert_fits(page)
        page.press("ESCAPE")
        wait_until(lambda: page.texts("#detail") == [])
        page.resize(320, 2000, mobile=True)
        wait_until(lambda: page.count(ROWS) == len(HOSTILE))
        assert_fits(page)
        # nothing ran, nothing was made of it, nothing asked for
        assert page.script("return [window.hurt ?? 0, window.proto, ({}).hurt ?? 0]") == [0, 0, 0]
        made = "return document.querySelectorAll('main script, main img, main style, main [onload]').length"
        assert page.script(made) == 0

    def test_what_hides_is_written_out(self, page: Browser, collector: Collector) -> None:
        send(collector, purchase("\u202egnorw\x00"))
        wait_until(lambda: page.text(f"{LINES} b") == "\\u202egnorw\\u0000")
        page.click(ROWS)
        wait_until(lambda: 'visitor_id: "\\u202egnorw\\u0000"' in page.text(TREE))

    def test_keys_of_prototypes_are_keys(self, page: Browser, collector: Collector) -> None:
        bought = purchase("alice")
        bought["snapshots"][0]["events"][0]["tags"] = {"__proto__": "a", "constructor": "b", "toString": "c"}
        send(collector, bought)
        page.click(ROWS)
        wait_until(lambda: page.count(TREE) == 1)
        for written in ('__proto__: "a"', 'constructor: "b"', 'toString: "c"'):
            assert written in page.text(TREE)

    def test_a_megabyte_is_shown_when_asked_for(self, page: Browser, collector: Collector) -> None:
        bought = purchase("alice")
        bought["attributes"].append({"entity_id": "1", "key": "long", "type": "custom", "value": "y" * 1_000_000})
        send(collector, bought)
        page.click(ROWS)
        wait_until(lambda: page.count(TREE) == 1)
        assert page.script("return document.getElementById('detail').textContent.length") < 5000
        page.click("#detail .more", "Show all 1,000,002 characters")
        wait_until(lambda: page.script("return document.getElementById('detail').textContent.length") > 1_000_000)
        assert_fits(page)

    def test_long_lists_come_in_parts(self, page: Browser, collector: Collector) -> None:
        bought = purchase("alice")
        bought["snapshots"][0]["events"][0]["tags"] = {f"tag-{n:04}": n for n in range(1500)}
        send(collector, bought)
        page.click(ROWS)
        page.click("#detail summary", "tags")
        page.click("#detail .more", "Show 100 more of 1,500")
        wait_until(lambda: "tag-0150" in page.text(TREE))
        assert "tag-0250" not in page.text(TREE)

    def test_what_is_no_payload_is_shown_too(self, page: Browser, collector: Collector) -> None:
        bodies = [b"", b"{", b"\xff\xfe", b"[" * 50_000, b"null", b'{"visitors": 7}', b"[" * 900 + b"]" * 900]
        for body in bodies:
            request = urllib.request.Request(collector.url, body, {"Content-Type": "application/json"})
            urllib.request.urlopen(request, timeout=10).close()
        wait_until(lambda: page.count(f"{ROWS} .badge.invalid") == len(bodies))
        for number in range(1, len(bodies) + 1):
            page.script("location.hash = arguments[0]", f"#{number}")
            wait_until(lambda n=number: page.text("#detail-title") == f"Not a valid event #{n}")
            wait_until(lambda: page.count(".problems li") >= 1)
            assert_fits(page)


def hostile(text: str) -> dict[str, Any]:
    """A visitor that has the text wherever one may stand."""
    shown = impression(text or "-", text, text)
    shown["attributes"].append({"entity_id": text, "key": text, "type": "custom", "value": text})
    shown["snapshots"][0]["events"][0]["tags"] = {text: text}
    return shown


# -- what it looks like ------------------------------------------------------------------------------------------------


class TestLooks:
    @pytest.mark.parametrize("scheme", ["light", "dark"])
    def test_every_text_stands_out_from_its_ground(self, page: Browser, collector: Collector, scheme: str) -> None:
        page.prefer(scheme, "reduce")
        assert_readable(page, at_least=20)
        again = impression("alice")
        send(collector, again, purchase("bruno"), again)
        post(collector, {"visitors": []})
        wait_until(lambda: page.count(ROWS) == 4)
        page.click("#faults-button")
        page.click("[name=strict]")
        page.click(".day", "Outage")
        wait_until(lambda: page.text("#banner") != "" and page.text("#strict-mark") == "strict")
        assert_readable(page, at_least=60)
        page.click("#faults-close")
        page.click("#clear")
        for mark in ("invalid", "duplicate"):
            page.click(ROWS, mark)
            wait_until(lambda mark=mark: page.count(f"#detail-content .badge.{mark}") == 1)
            assert_readable(page, at_least=60)
        page.click("#pause")
        wait_until(lambda: page.text("#new") == "Paused, 0 new events")
        assert_readable(page, at_least=60)

    def test_dark_is_dark_and_light_is_light(self, page: Browser) -> None:
        ground = "return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        page.prefer("dark")
        assert max(page.script(ground)) < 40
        page.prefer("light")
        assert min(page.script(ground)) > 230

    def test_nothing_moves_for_those_who_want_calm(self, page: Browser, collector: Collector) -> None:
        moving = "return document.getAnimations().filter((each) => each.playState === 'running').length"
        assert page.script(moving) == 0  # nothing does without a cause
        send(collector, purchase("alice"))
        wait_until(lambda: page.script(moving) == 1)  # what is new shines for a moment
        wait_until(lambda: page.script(moving) == 0)
        page.prefer(motion="reduce")
        send(collector, purchase("bruno"))
        wait_until(lambda: page.count(ROWS) == 2)
        assert page.script(moving) == 0

    def test_fits_a_phone(self, page: Browser, collector: Collector) -> None:
        page.resize(320, 568, mobile=True)
        assert_fits(page)  # with nothing in it, too
        again = impression("visitor-" + "1234567890" * 6, "an_experiment_with_a_long_name", "a_variation_with_one")
        send(collector, again, purchase("bruno"), again)
        wait_until(lambda: page.count(ROWS) == 3)
        assert_fits(page)
        page.click("#faults-button")
        page.click(".day", "Slow")
        wait_until(lambda: page.text("#banner") != "")
        assert_fits(page)
        page.click("#faults-close")
        page.click(ROWS, "duplicate")
        wait_until(lambda: page.count(TREE) == 1)
        assert_fits(page)
        assert page.script("return document.getElementById('detail').getBoundingClientRect().width") == 320
        assert page.script("return document.getElementById('events').inert") is True
        page.click("#detail-close")
        assert page.script("return document.getElementById('events').inert") is False

    def test_fits_every_width_in_between(self, page: Browser, collector: Collector) -> None:
        send(collector, impression("alice"), purchase("bruno"))
        post(collector, {})
        collector.change(status=503, rate=0.5, latency=0.01, hang=True, reset=True, strict=True)
        wait_until(lambda: page.count(ROWS) == 3)
        page.click(ROWS)
        wait_until(lambda: page.text("#rate-most") != "" and page.count(TREE) == 1)
        large = "document.querySelectorAll('dd[id^=total]').forEach((each) => { each.textContent = '1,234,567'; })"
        for width in (1280, 1121, 1119, 961, 959, 820, 801, 799, 561, 559, 400):
            page.resize(width, 800)
            page.script(large)
            assert_fits(page)

    def test_every_control_has_a_name(self, page: Browser) -> None:
        page.click("#faults-button")
        assert_named(page)


# -- how it bears up ---------------------------------------------------------------------------------------------------


class TestUnderLoad:
    def test_a_thousand_events_a_second(
        self, page: Browser, collector: Collector, record_property: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        watch(page)
        payloads = [params(*batch) for batch in batches(60, 100)]
        sending = gevent.spawn(send_steadily, collector, payloads, 0.1)
        most = 0
        while not sending.ready():
            most = max(most, page.script("return document.querySelectorAll('*').length"))
            gevent.sleep(0.1)  # a sample now and then, and nothing is awaited
        sending.get()
        wait_until(lambda: page.text("#total-events") == "6,000", timeout=20)
        measured = {**watched(page), "elements": most}
        for name, value in measured.items():
            record_property(name, value)
        with capsys.disabled():
            print(f"\n1 000 events/s: { {name: round(value, 1) for name, value in measured.items()} }")
        assert most < 1500
        kept = int(page.text("[data-chip=all] .count").replace(",", ""))
        assert 5000 <= kept <= 5500
        page.click(ROWS)
        wait_until(lambda: page.count(TREE) == 1)

    def test_a_burst_is_listed_to_the_last_event(self, page: Browser, collector: Collector) -> None:
        for start in range(0, 1400, 700):  # more than one message of the stream holds
            send(collector, *(purchase(f"visitor-{n}") for n in range(start, start + 700)))
        wait_until(lambda: page.text("[data-chip=all] .count") == "1,400")
        page.type("#filter", "visitor-699")
        wait_until(lambda: page.texts(LINES) == ['visitor-699 converted "purchase", revenue 42.00'])

    def test_events_that_come_while_the_list_is_held_are_bounded(self, page: Browser, collector: Collector) -> None:
        page.click("#pause")
        for payload in (params(*batch) for batch in batches(62, 100)):
            assert post(collector, payload) == 204
        wait_until(lambda: page.text("#total-events") == "6,200", timeout=20)
        page.click("#pause")
        wait_until(lambda: page.count(ROWS) > 0)
        assert int(page.text("[data-chip=all] .count").replace(",", "")) <= 5500


def batches(number: int, size: int) -> Iterator[list[dict[str, Any]]]:
    names = itertools.cycle(f"visitor-{n}" for n in range(997))
    for _ in range(number):
        yield [impression(next(names)) if n % 3 else purchase(next(names)) for n in range(size)]


def send_steadily(collector: Collector, payloads: list[dict[str, Any]], every: float) -> None:
    begun = monotonic()
    for number, payload in enumerate(payloads):
        gevent.sleep(max(0.0, begun + number * every - monotonic()))
        assert post(collector, payload) == 204


class TestReconnecting:
    def test_an_outage_is_shown_and_ends_by_itself(self, browser: Browser, collector: Collector) -> None:
        show(browser, collector.base_url)
        send(collector, purchase("alice"))
        wait_until(lambda: browser.count(ROWS) == 1)
        collector.stop()
        wait_until(lambda: browser.text("#state") == "reconnecting")
        collector.start()
        send(collector, purchase("bruno"))
        wait_until(lambda: browser.text("#state") == "live")
        wait_until(lambda: browser.count(ROWS) == 2)
        browser.leave()
        browser.complaints()

    def test_another_collector_at_the_same_place_begins_anew(self, browser: Browser) -> None:
        with Collector() as first:
            show(browser, first.base_url)
            send(first, purchase("alice"), purchase("bruno"))
            wait_until(lambda: browser.count(ROWS) == 2)
        with Collector(port=urlsplit(first.base_url).port or 0) as second:
            send(second, purchase("chiara"))
            wait_until(lambda: browser.texts(LINES) == ['chiara converted "purchase", revenue 42.00'])
            assert browser.text("#total-events") == "1"
            browser.leave()
        browser.complaints()
