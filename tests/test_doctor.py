"""The doctor: tables for what an observation means, real processes for what is observed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Iterator

import pytest
from gevent.server import StreamServer

from gevent_dispatcher.doctor import Finding, examine, own_findings
from gevent_dispatcher.doctor._command import NotExamined, diagnose
from gevent_dispatcher.doctor._findings import MODULES, THREADS, Held, Observation, Thread, judge
from tests.lifetimes._processes import Program
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent
DATAFILE = ROOT / "examples" / "datafile.json"
UWSGI = Path(sys.executable).with_name("uwsgi")

# Seconds: for a process to say something, and for one to end.
PATIENCE = 60

PATCHED = Observation(server="gunicorn's gevent worker", patched=frozenset(MODULES))


# -- what an observation means -----------------------------------------------------------------------------------------


def codes(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(each.level, each.code) for each in findings]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (PATCHED, []),
        (Observation(), [("info", "not-patched")]),
        (Observation(server="uWSGI --gevent"), [("error", "not-patched")]),
        (replace(PATCHED, patched=frozenset({"socket", "time"})), [("warning", "partly-patched")]),
        (replace(PATCHED, held=(Held("urllib3.util.ssl_", "ssl.SSLContext"),)), [("error", "urllib3-before-patch")]),
        (replace(PATCHED, held=(Held("urllib3x", "ssl.SSLContext"),)), [("error", "ssl-before-patch")]),
        (replace(PATCHED, held=(Held("shop", "socket.socket"),)), [("warning", "socket-before-patch")]),
        (replace(PATCHED, held=(Held("shop", "time.sleep"),)), [("warning", "socket-before-patch")]),
        (replace(PATCHED, early_contexts=1), [("error", "tls-context-before-patch")]),
        (replace(PATCHED, batch_sizes=(1,)), [("info", "batch-processor-in-front")]),
        (replace(PATCHED, batch_sizes=(1, 10)), [("warning", "batch-processor-in-front")]),
        (replace(PATCHED, close_timeout=3.0), []),
        (replace(PATCHED, graceful_timeout=1.0), []),
        (replace(PATCHED, close_timeout=3.0, graceful_timeout=30.0), []),
        (replace(PATCHED, close_timeout=3.0, graceful_timeout=4.5), []),
        (replace(PATCHED, close_timeout=3.0, graceful_timeout=4.0), [("warning", "close-timeout-too-long")]),
        (replace(PATCHED, close_timeout=0.0, graceful_timeout=1.0), [("warning", "close-timeout-too-long")]),
    ],
)
def test_what_an_observation_means(seen: Observation, expected: list[tuple[str, str]]) -> None:
    assert codes(judge(seen)) == expected


@pytest.mark.parametrize("kind", THREADS)
def test_a_dead_thread_is_an_error_and_a_copied_one_a_warning(kind: str) -> None:
    assert codes(judge(replace(PATCHED, threads=(Thread(kind, cloned=False),)))) == [("error", f"{kind}-dead")]
    assert codes(judge(replace(PATCHED, threads=(Thread(kind, cloned=True),)))) == [("warning", f"{kind}-cloned")]


def test_a_batch_processor_whose_thread_was_forked_is_a_warning_whatever_its_size() -> None:
    seen = replace(PATCHED, batch_sizes=(1,), threads=(Thread("event-thread", cloned=True),))
    assert ("warning", "batch-processor-in-front") in codes(judge(seen))


def test_errors_come_first_and_nothing_twice() -> None:
    dead = Thread("event-thread", cloned=False)
    seen = replace(PATCHED, batch_sizes=(1,), threads=(dead, dead), close_timeout=9.0, graceful_timeout=9.0)
    levels = [each.level for each in judge(seen)]
    assert levels == ["error", "warning", "warning"]


def test_only_some_of_many_modules_are_named() -> None:
    held = tuple(Held(f"module_{number}", "ssl.SSLContext") for number in range(9))
    assert "module_0, module_1, module_2, module_3 and 5 more imported" in judge(replace(PATCHED, held=held))[0].what


def test_each_finding_has_a_sentence_and_a_cure() -> None:
    held = (Held("urllib3", "ssl.SSLContext"), Held("shop", "ssl.SSLContext"), Held("shop", "time.sleep"))
    threads = tuple(Thread(kind, cloned) for kind in THREADS for cloned in (True, False))
    seen = Observation("x", frozenset({"ssl"}), held, 1, threads, (10,), 3.0, 3.0)
    for finding in (*judge(seen), *judge(Observation()), *judge(Observation(server="x"))):
        assert re.fullmatch(r"[a-z0-9-]+", finding.code)
        assert finding.what.endswith(".")
        assert finding.cure.endswith(".")


def test_a_well_patched_process_has_nothing_of_its_own_to_say() -> None:
    assert own_findings() == []


# -- what is observed: applications, loaded by the command -------------------------------------------------------------

pytest.importorskip("gunicorn")

APP = """
def app(environ, start_response):
    start_response("200 OK", [])
    return [b""]
"""
URLLIB3 = "import urllib3" + APP
PLAIN_CLIENT = f"""
from gevent_dispatcher import GeventEventDispatcher
from optimizely.optimizely import Optimizely
client = Optimizely(open({str(DATAFILE)!r}).read(), event_dispatcher=GeventEventDispatcher())
{APP}"""
SOUND = f"""
from gevent_dispatcher.sdk import create_client
client = create_client(open({str(DATAFILE)!r}).read())
{APP}"""
PATCHING = "from gevent import monkey; monkey.patch_all()\n"
PRELOADING = PATCHING + "preload_app = True\n"

POLLING = (
    """
from optimizely.config_manager import PollingConfigManager
class Manager(PollingConfigManager):
    def fetch_datafile(self):
        pass
manager = Manager(sdk_key="key")
"""
    + APP
)
ODP = (
    """
from optimizely.odp.odp_config import OdpConfig
from optimizely.odp.odp_event_manager import OdpEventManager
manager = OdpEventManager()
manager.start(OdpConfig("key", "http://127.0.0.1:1", []))
"""
    + APP
)


class Shop:
    """A directory with an application, where commands are run in processes of their own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def write(self, code: str, name: str = "shop.py") -> None:
        """Write a module or a configuration."""
        (self.directory / name).write_text(textwrap.dedent(code), encoding="utf-8")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m gevent_dispatcher doctor`."""
        return subprocess.run(
            [sys.executable, "-m", "gevent_dispatcher", "doctor", *arguments],
            cwd=self.directory,
            env=environ(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def codes(self, *arguments: str) -> list[str]:
        """What the command finds."""
        done = self.run("--json", "shop:app", *arguments)
        assert done.returncode != 3, done.stderr
        return [each["code"] for each in json.loads(done.stdout)]


def environ() -> dict[str, str]:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    # Nothing leaves this machine: what goes elsewhere meets a closed port.
    proxies = {"HTTPS_PROXY": "http://127.0.0.1:1", "NO_PROXY": "127.0.0.1"}
    return {**os.environ, **proxies, "PYTHONPATH": paths, "GUNICORN_CMD_ARGS": "", "PYTHONWARNINGS": ""}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


class TestPatching:
    def test_an_application_that_workers_load_is_patched_in_time(self, shop: Shop) -> None:
        shop.write("import ssl, socket, urllib3" + APP)
        assert shop.codes() == []

    def test_urllib3_is_preloaded_unpatched(self, shop: Shop) -> None:
        shop.write(URLLIB3)
        assert shop.codes("--preload") == ["urllib3-before-patch"]

    def test_the_configuration_patches_first(self, shop: Shop) -> None:
        shop.write(URLLIB3)
        shop.write(PRELOADING, "conf.py")
        assert shop.codes("-c", "conf.py") == []

    def test_the_configuration_imports_urllib3_and_patches_then(self, shop: Shop) -> None:
        shop.write(URLLIB3)
        shop.write("import urllib3\n" + PATCHING, "conf.py")
        assert shop.codes("-c", "conf.py") == ["urllib3-before-patch"]

    def test_ssl_alone_may_be_imported_early(self, shop: Shop) -> None:
        shop.write("import ssl, socket, time, http.client, urllib.request, smtplib, asyncio" + APP)
        assert shop.codes("--preload") == []

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            ("from ssl import SSLContext", "ssl-before-patch"),
            ("import ssl\nclass Context(ssl.SSLContext): pass", "ssl-before-patch"),
            ("import ssl\ncontext = ssl.create_default_context()", "tls-context-before-patch"),
            ("from socket import socket", "socket-before-patch"),
            ("import socket\nclass Socket(socket.socket): pass", "socket-before-patch"),
            ("from time import sleep", "socket-before-patch"),
        ],
    )
    def test_what_the_application_holds_from_before_the_patch(self, shop: Shop, code: str, expected: str) -> None:
        shop.write(code + APP)
        assert shop.codes("--preload") == [expected]
        assert shop.codes() == []

    def test_a_frozen_master_hides_nothing(self, shop: Shop) -> None:
        shop.write("import gc, ssl\ncontext = ssl.create_default_context()" + APP)
        shop.write("import gc\ndef pre_fork(server, worker):\n    gc.freeze()\n", "conf.py")
        assert shop.codes("--preload", "-c", "conf.py") == ["tls-context-before-patch"]

    def test_a_gevent_worker_that_does_not_patch(self, shop: Shop) -> None:
        shop.write(APP)
        shop.write(
            """
            from gunicorn.workers.ggevent import GeventWorker
            class worker_class(GeventWorker):
                def patch(self):
                    pass
            """,
            "conf.py",
        )
        done = shop.run("shop:app", "-c", "conf.py")
        assert done.returncode == 2
        assert done.stdout.startswith("error: not-patched\n")

    def test_a_gevent_worker_that_patches_half(self, shop: Shop) -> None:
        shop.write(APP)
        shop.write(
            """
            from gevent import monkey
            from gunicorn.workers.ggevent import GeventWorker
            class worker_class(GeventWorker):
                def patch(self):
                    monkey.patch_all(ssl=False)
            """,
            "conf.py",
        )
        assert shop.codes("-c", "conf.py") == ["partly-patched"]

    def test_a_sync_worker_is_only_told_how_its_events_are_delivered(self, shop: Shop) -> None:
        shop.write(APP)
        done = shop.run("shop:app", "-k", "sync")
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, "info: not-patched")

    def test_a_lazily_loaded_module_is_not_woken(self, shop: Shop) -> None:
        shop.write("raise RuntimeError('woken')", "asleep.py")
        shop.write(
            """
            import importlib.util, sys
            spec = importlib.util.find_spec("asleep")
            spec.loader = importlib.util.LazyLoader(spec.loader)
            module = sys.modules["asleep"] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            """
            + textwrap.indent(APP, " " * 12)
        )
        assert shop.codes() == []

    def test_objects_that_are_nobodys_business_are_left_alone(self, shop: Shop) -> None:
        shop.write(
            """
            class Touchy(type):
                def __hash__(cls): raise RuntimeError
                def __eq__(cls, other): raise RuntimeError
            class Proxy(metaclass=Touchy):
                @property
                def __class__(self): raise RuntimeError
                def __getattr__(self, name): raise RuntimeError
                def __eq__(self, other): raise RuntimeError
            proxy = Proxy()
            """
            + textwrap.indent(APP, " " * 12)
        )
        assert shop.codes() == []


class TestSdk:
    @pytest.fixture(autouse=True)
    def _sdk(self) -> None:
        pytest.importorskip("optimizely")

    def test_the_event_thread_dies_in_the_fork(self, shop: Shop) -> None:
        shop.write(PLAIN_CLIENT)
        found = shop.codes("--preload")
        assert {"event-thread-dead", "batch-processor-in-front", "urllib3-before-patch"} <= set(found)

    def test_the_event_thread_is_copied_as_a_greenlet(self, shop: Shop) -> None:
        shop.write(PLAIN_CLIENT)
        shop.write(PRELOADING, "conf.py")
        assert shop.codes("-c", "conf.py") == ["event-thread-cloned", "batch-processor-in-front"]

    @pytest.mark.parametrize(
        "dispatcher",
        [
            "import gevent_dispatcher as dispatcher",
            "from gevent_dispatcher import GeventEventDispatcher as dispatcher",
            "from gevent_dispatcher import GeventEventDispatcher; dispatcher = GeventEventDispatcher()",
        ],
    )
    def test_a_processor_in_front_without_a_fork(self, shop: Shop, dispatcher: str) -> None:
        processor = "BatchEventProcessor(dispatcher, start_on_init=True)"
        code = f"from optimizely.event.event_processor import BatchEventProcessor\n{dispatcher}\nfront = {processor}"
        shop.write(code + APP)
        assert shop.codes() == ["batch-processor-in-front"]

    def test_a_processor_in_front_of_another_dispatcher_is_not_ours_to_judge(self, shop: Shop) -> None:
        code = "from optimizely.event.event_processor import BatchEventProcessor\nfront = BatchEventProcessor()"
        shop.write("import gevent_dispatcher\n" + code + APP)
        assert shop.codes() == []

    def test_a_processor_that_was_stopped_has_no_dead_thread(self, shop: Shop) -> None:
        code = """
from optimizely.event.event_processor import BatchEventProcessor
stopped = BatchEventProcessor(start_on_init=True)
stopped.stop()
"""
        shop.write(code + APP)
        assert shop.codes() == []

    @pytest.mark.parametrize(("code", "kind"), [(POLLING, "polling-thread"), (ODP, "odp-thread")])
    def test_other_threads(self, shop: Shop, code: str, kind: str) -> None:
        if kind == "odp-thread":
            pytest.importorskip("optimizely.odp.odp_event_manager")
        shop.write(code)
        shop.write(PRELOADING, "conf.py")
        assert f"{kind}-dead" in shop.codes("--preload")
        assert f"{kind}-cloned" in shop.codes("-c", "conf.py")
        assert shop.codes() == []

    @pytest.mark.parametrize("options", ["", ", sdk_key='key'"])
    def test_a_sound_application(self, shop: Shop, options: str) -> None:
        shop.write(SOUND.replace(".read()", f".read(){options}"))
        shop.write(PRELOADING, "conf.py")
        done = shop.run("shop:app", "-c", "conf.py")
        assert (done.returncode, done.stdout) == (0, "Nothing found.\n")


class TestCommand:
    def test_a_close_timeout_that_does_not_fit(self, shop: Shop) -> None:
        shop.write("from gevent_dispatcher import GeventEventDispatcher\nd = GeventEventDispatcher()" + APP)
        shop.write("graceful_timeout = 3\n", "conf.py")
        done = shop.run("shop:app", "-c", "conf.py")
        assert (done.returncode, done.stdout.splitlines()[0]) == (1, "warning: close-timeout-too-long")
        assert shop.codes("-c", "conf.py", "--graceful-timeout", "30") == []

    def test_an_error_in_readable_form(self, shop: Shop) -> None:
        shop.write(URLLIB3)
        done = shop.run("shop:app", "--preload")
        assert done.returncode == 2
        assert re.fullmatch(r"error: urllib3-before-patch\n  urllib3 was .+\.\n  Cure: .+\.\n", done.stdout)

    def test_an_application_factory_that_prints(self, shop: Shop) -> None:
        shop.write(
            "print('imported')\ndef create_app(name, debug):\n    print('made', name, debug)\n    return app" + APP
        )
        done = shop.run("shop:create_app('x', debug=True)", "--json")
        assert (done.returncode, done.stdout) == (0, "[]\n")
        assert done.stderr == "imported\nmade x True\n"

    def test_json_holds_whole_findings(self, shop: Shop) -> None:
        shop.write(URLLIB3)
        [found] = json.loads(shop.run("--json", "shop:app", "--preload").stdout)
        assert set(found) == {"code", "level", "what", "cure"}

    def test_hooks_and_environment_of_the_configuration_are_the_workers(self, shop: Shop) -> None:
        shop.write("import os\nassert os.environ['SHOP'] == 'open'" + APP)
        conf = """
            raw_env = ["SHOP=open"]
            errorlog = accesslog = "log.txt"
            capture_output = True
            def post_fork(server, worker): server.log.warning("forked")
            def post_worker_init(worker): worker.log.warning("ready")
            def on_exit(server): print("exit")
            """
        shop.write(conf, "conf.py")
        done = shop.run("shop:app", "-c", "conf.py")
        assert done.returncode == 0, done.stderr
        assert re.findall(r"forked|ready|exit", done.stderr) == ["forked", "ready"]
        assert not (shop.directory / "log.txt").exists()

    def test_the_processes_end_without_exit_handlers(self, shop: Shop) -> None:
        shop.write("import atexit\natexit.register(print, 'the end')" + APP)
        done = shop.run("shop:app", "--preload")
        assert (done.returncode, done.stderr) == (0, "")

    @pytest.mark.parametrize(
        ("code", "arguments", "said"),
        [
            (APP, (), "No application module specified"),
            (APP, ("nonsense:app",), "nonsense"),
            (APP, ("shop:nonsense",), "nonsense"),
            (APP, ("shop:app", "-c", "absent.py"), "absent.py"),
            (APP, ("shop:app", "--nonsense"), "--nonsense"),
            ("1 / 0", ("shop:app",), "ZeroDivisionError"),
            ("1 / 0", ("shop:app", "--preload"), "ZeroDivisionError"),
            ("import sys; sys.exit(0)", ("shop:app", "--preload"), "could not be loaded"),
            ("import sys; sys.exit(0)", ("shop:app",), "could not be loaded"),
        ],
    )
    def test_what_cannot_be_loaded(self, shop: Shop, code: str, arguments: tuple[str, ...], said: str) -> None:
        shop.write(code)
        done = shop.run(*arguments)
        assert (done.returncode, done.stdout) == (3, "")
        assert said in done.stderr
        assert "not examined: " in done.stderr

    def test_what_loads_for_ever_is_ended_with_all_it_started(
        self, shop: Shop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        code = "import os, signal\nopen('pid.txt', 'w').write(str(os.getpid()))\nsignal.pause()"
        shop.write(code)
        monkeypatch.chdir(shop.directory)
        monkeypatch.setenv("PYTHONPATH", environ()["PYTHONPATH"])
        with pytest.raises(NotExamined, match="not loaded within 3 s"):
            diagnose(["shop:app"], timeout=3)
        pid = int((shop.directory / "pid.txt").read_text())
        wait_until(lambda: not is_running(pid))

    def test_without_gunicorn_it_says_what_to_do(self, shop: Shop) -> None:
        shop.write("raise ImportError('hidden')", "gunicorn.py")
        done = shop.run("shop:app")
        assert done.returncode == 3
        assert "pip install gunicorn" in done.stderr
        assert "examine()" in done.stderr

    def test_help_names_the_exit_codes(self, shop: Shop) -> None:
        done = shop.run("--help")
        assert done.returncode == 0
        assert "1 with warnings, 2 with errors, and 3" in " ".join(done.stdout.split())


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# -- in servers --------------------------------------------------------------------------------------------------------

ASKED = """
import json, requests, sys
from dataclasses import asdict
from gevent_dispatcher import GeventEventDispatcher
from gevent_dispatcher.doctor import examine, own_findings
dispatcher = GeventEventDispatcher(close_timeout=9)

def error_of_https(port):
    try:
        requests.get(f"https://127.0.0.1:{port}/", timeout=5)
    except BaseException as error:
        return type(error).__name__

def app(environ, start_response):
    before = set(sys.modules)
    found, own = examine(), own_findings()
    answer = {
        "found": [each.code for each in found],
        "own": [each.code for each in own],
        "with_time": [each.code for each in examine(graceful_timeout=60)],
        "imported": sorted(set(sys.modules) - before),
        "https": error_of_https(environ["QUERY_STRING"]),
    }
    body = json.dumps(answer).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
"""


@contextmanager
def serving(command: list[str], directory: Path) -> Iterator[int]:
    """Start a server and tell its port; it and its workers are ended whatever happens."""
    with Program(command, directory, environ(), directory) as program:
        yield program.port()


@pytest.fixture(scope="module")
def hangs_up() -> Iterator[int]:
    """The port of a server that closes each connection: a TLS context is made before that is noticed."""
    server = StreamServer(("127.0.0.1", 0), lambda sock, _: sock.close())
    server.start()
    yield server.server_port
    server.stop()


def ask(port: int, query: int) -> Any:
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", f"/?{query}", headers={"Connection": "close"})
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


def gunicorn(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "gunicorn", "--bind=127.0.0.1:0", *arguments, "shop:app"]


class TestServers:
    @pytest.fixture(autouse=True)
    def _requests(self) -> None:
        pytest.importorskip("requests")

    def test_gunicorn_with_an_unpatched_preload(self, shop: Shop, hangs_up: int) -> None:
        shop.write(ASKED)
        with serving(gunicorn("-k=gevent", "--preload", "--graceful-timeout=5"), shop.directory) as port:
            answer = ask(port, hangs_up)
        # requests of some versions makes a TLS context when it is imported, and imports PySocks where there is one.
        of_requests = {"tls-context-before-patch", *(["socket-before-patch"] if find_spec("socks") else [])}
        assert [each for each in answer["found"] if each not in of_requests] == [
            "urllib3-before-patch",
            "close-timeout-too-long",
        ]
        assert answer["own"] == ["urllib3-before-patch"]
        assert "close-timeout-too-long" not in answer["with_time"]
        assert answer["https"] == "RecursionError"

    def test_gunicorn_without_preload(self, shop: Shop, hangs_up: int) -> None:
        shop.write(ASKED)
        with serving(gunicorn("-k=gevent"), shop.directory) as port:
            answer = ask(port, hangs_up)
        assert (answer["found"], answer["own"], answer["imported"]) == ([], [], [])
        assert answer["https"] in ("ConnectionError", "SSLError")

    def test_gunicorn_with_threads(self, shop: Shop, hangs_up: int) -> None:
        shop.write(ASKED)
        with serving(gunicorn("-k=gthread"), shop.directory) as port:
            answer = ask(port, hangs_up)
        assert (answer["found"], answer["own"]) == (["not-patched"], ["not-patched"])

    @pytest.mark.skipif(not UWSGI.exists(), reason="uWSGI is not installed: pip install uwsgi")
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ([], "not-patched"),
            (["--gevent-monkey-patch"], "urllib3-before-patch"),
            (["--gevent-early-monkey-patch"], None),
        ],
    )
    def test_uwsgi(self, shop: Shop, hangs_up: int, options: list[str], expected: str | None) -> None:
        shop.write(ASKED)
        command = ["--http-socket", "127.0.0.1:0", "--gevent", "9", *options, "--virtualenv", sys.prefix]
        with serving([str(UWSGI), *command, "--module", "shop:app", "--master"], shop.directory) as port:
            found = ask(port, hangs_up)["found"]
        assert found == [expected] if expected else found == []


def test_examining_this_process_finds_what_pytest_has_imported_in_time() -> None:
    assert "not-patched" not in [each.code for each in examine()]
