"""The house stays as small in its parts as CONTRIBUTING.md says."""

from __future__ import annotations

from pathlib import Path
from statistics import median

from tests import __main__ as suite
from tests import measure


def lengths() -> list[int]:
    return [function.lines for path in measure.files(measure.PACKAGE) for function in measure.functions(path)]


def test_functions_are_short() -> None:
    found = lengths()
    assert 4 <= median(found) <= 8
    assert sum(1 for each in found if each < measure.LONG) / len(found) > 0.98
    assert max(found) <= 40


def test_no_file_is_long() -> None:
    assert max(map(measure.code_lines, measure.files(measure.PACKAGE))) <= 360


def test_there_is_as_much_test_as_code() -> None:
    code, tests = (sum(map(measure.code_lines, measure.files(root))) for root in (measure.PACKAGE, measure.TESTS))
    assert tests >= code


def test_a_function_is_measured_from_its_decorator_to_its_end(tmp_path: Path) -> None:
    code = "# why\n\n@property\ndef outer(self):\n    def inner():\n        pass\n\n    return inner\n"
    (tmp_path / "a.py").write_text(code)
    (path,) = measure.files(tmp_path)
    assert [(each.name, each.lines) for each in measure.functions(path)] == [("outer", 6), ("inner", 2)]
    assert measure.code_lines(path) == 5


def test_what_is_said_to_take_long_is_there() -> None:
    assert set(suite._SECONDS) <= {path.stem for path in measure.files(measure.TESTS)}
