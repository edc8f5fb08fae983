"""What is shipped: complete, described, and usable where nothing else is installed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path
from typing import Any

import pytest

import gevent_dispatcher
from tests import documents
from tests.wheels import PACKAGE, ROOT, Shipped, packaged_files, ship

pytest.importorskip("build", reason="build is not installed: pip install build")

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(not (ROOT / PACKAGE).is_dir(), reason="there is nothing to build: the sources are elsewhere"),
    pytest.mark.unmeasured("pip takes the tree that the plugin is found in for what is installed"),
]

# Imports every module, each in its turn, and says which were refused and in which words. Two are programs: to import
# them is to run them.
IMPORT_ALL = """
import importlib, json, pkgutil
import gevent_dispatcher
refused = {}
for found in pkgutil.walk_packages(gevent_dispatcher.__path__, "gevent_dispatcher.", onerror=lambda name: None):
    try:
        if not found.name.endswith(("__main__", "doctor._as_gunicorn")):
            importlib.import_module(found.name)
    except ImportError as error:
        refused[found.name] = str(error)
print(json.dumps({"refused": refused, "from": gevent_dispatcher.__file__}))
"""


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Shipped:
    return ship(tmp_path_factory.mktemp("shipped"))


@pytest.fixture(scope="module")
def metadata(shipped: Shipped) -> Message:
    with zipfile.ZipFile(shipped.wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode("utf-8"))


@pytest.fixture(scope="module")
def bare_python(shipped: Shipped, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An interpreter of an environment with the wheel, what it needs, and no extra."""
    directory = tmp_path_factory.mktemp("bare")
    venv.create(directory, with_pip=False)
    python = str(directory / "bin" / "python")
    pip = [sys.executable, "-m", "pip", f"--python={python}", "install", "--quiet", str(shipped.wheel)]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return python


@pytest.fixture(scope="module")
def said(bare_python: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the bare environment says of each module."""
    command = [bare_python, "-I", "-c", IMPORT_ALL]
    done = subprocess.run(command, cwd=tmp_path_factory.mktemp("away"), capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def names_in_wheel(shipped: Shipped) -> set[str]:
    with zipfile.ZipFile(shipped.wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_holds_the_package_with_its_data_and_nothing_else(shipped: Shipped) -> None:
    names = names_in_wheel(shipped)
    assert {name for name in names if ".dist-info/" not in name} == packaged_files()
    assert f"{PACKAGE}/py.typed" in names
    assert any(re.search(r"\.dist-info/(licenses/)?LICENSE$", name) for name in names)


def test_the_sdist_can_be_tested_and_read(shipped: Shipped) -> None:
    with tarfile.open(shipped.sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    tests = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py")}
    assert packaged_files() | tests <= names
    linked = {name for name in documents.NAMES for name in (name, *files_linked_from(name))}
    assert {"LICENSE", "pyproject.toml", "setup.py", *linked} <= names


def files_linked_from(name: str) -> set[str]:
    """The files that a document links to, by their paths from the root."""
    directory = Path(name).parent
    paths = {target.partition("#")[0] for target in documents.links(name)} - {""}
    return {os.path.normpath(directory / path) for path in paths}


# Has sources that may be written to look as if they could only be read: root may write everywhere.
READ_ONLY = """
import os, runpy, sys
os.access = lambda *_: False
sys.argv = ["setup.py", "egg_info", "build"]
runpy.run_path("setup.py", run_name="__main__")
"""


def test_sources_that_may_only_be_read_are_built_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("setuptools")
    for name in ("setup.py", "README.md", f"{PACKAGE}/__init__.py", f"{PACKAGE}/py.typed"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    before = set(tmp_path.rglob("*"))
    command = [sys.executable, "-B", "-c", READ_ONLY]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    assert "writing manifest file" in done.stdout
    assert set(tmp_path.rglob("*")) == before


def test_the_metadata_says_what_it_is_and_where_it_runs(metadata: Message) -> None:
    assert metadata["Name"] == "gevent-dispatcher"
    assert metadata["Version"] == gevent_dispatcher.__version__
    assert metadata["Summary"]
    assert metadata["Requires-Python"] == ">=3.8"
    assert "Apache-2.0" in (metadata["License-Expression"] or metadata["License"])
    assert metadata["License-File"] == "LICENSE"
    classifiers = metadata.get_all("Classifier", [])
    for version in ("3.8", "3.9", "3.10", "3.11", "3.12", "3.13"):
        assert f"Programming Language :: Python :: {version}" in classifiers
    assert {"Typing :: Typed", "Framework :: Flask", "Operating System :: POSIX"} <= set(classifiers)


def test_it_needs_gevent_and_urllib3_and_nothing_else(metadata: Message) -> None:
    always = [each for each in metadata.get_all("Requires-Dist", []) if "extra ==" not in each]
    assert {re.split(r"[<>=;\s]", each)[0] for each in always} == {"gevent", "urllib3"}


def test_the_long_description_is_the_readme_and_renders(metadata: Message) -> None:
    markdown = pytest.importorskip("readme_renderer.markdown")
    assert metadata["Description-Content-Type"] == "text/markdown"
    text = metadata.get_payload()
    assert isinstance(text, str)
    page = markdown.render(text)
    assert page is not None
    assert re.search(r"<h1[^>]*>gevent_dispatcher<", page)
    assert page.count("<table>") == len(re.findall(r"^\| ?:?-[-:| ]*\|$", text, re.M))


def test_the_long_description_links_to_no_file_but_names_it(metadata: Message) -> None:
    text = metadata.get_payload()
    assert isinstance(text, str)
    readme = (ROOT / "README.md").read_text("utf-8")
    # A page of an index has nothing beside it, so that such a link would lead nowhere.
    assert set(re.findall(r"\]\(([^)]*)\)", text)) == {each for each in documents.links("README.md") if each[0] == "#"}
    assert [path for path in files_linked_from("README.md") if f"`{path}`" not in text] == []
    code = re.compile(r"^```.*?^```$", re.M | re.S)
    assert code.findall(text) == code.findall(readme)
    assert len(text.split("## ")) == len(readme.split("## "))


def test_what_is_imported_is_what_was_installed(bare_python: str, said: dict[str, Any]) -> None:
    assert Path(bare_python).parent.parent in Path(said["from"]).parents


def test_a_module_without_its_extra_says_which_one_to_install(said: dict[str, Any], metadata: Message) -> None:
    extras = set(metadata.get_all("Provides-Extra", []))
    assert "gevent_dispatcher.sdk" in said["refused"]
    for module, words in said["refused"].items():
        named = re.search(r"pip install 'gevent-dispatcher\[([\w-]+)\]'", words)
        assert named, f"{module}: {words}"
        assert named[1] in extras, f"{module}: {words}"
        assert module.startswith(words.split()[0]), f"{module}: {words}"
