"""Plots of a run: what an event costs, how late the hub is, what a web application loses, how many events get in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Mapping

from tests.benchmarks.contestants import ENTRIES
from tests.benchmarks.report import Figures
from tests.benchmarks.web import ENDPOINTS

_OURS, _LIMIT, _PEER = "#1b7f5c", "#b7b7b7", "#5b7db1"


def draw(summarised: Mapping[str, Any], directory: Path) -> list[Path]:
    """Draw what was measured, as PNG files.

    Args:
        summarised: the summary of a run.
        directory: made when it is not there.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib as mpl

    mpl.use("agg")
    directory.mkdir(parents=True, exist_ok=True)
    figures = Figures(summarised)
    return [path for plot in (_cpu, _rate, _lateness, _web) for path in plot(figures, directory)]


def _cpu(figures: Figures, directory: Path) -> list[Path]:
    title = "CPU of the process per delivered event, µs (burst)"
    return _bars(figures, ("burst", "0 ms", "cpu_us_per_event"), title, directory / "cpu.png")


def _rate(figures: Figures, directory: Path) -> list[Path]:
    title = "Events per second, endpoint answers after 50 ms"
    return _bars(figures, ("burst", "50 ms", "events_per_s"), title, directory / "rate.png")


def _lateness(figures: Figures, directory: Path) -> list[Path]:
    title = "Hub lateness p99 at 2 000 events/s over https, ms"
    return _bars(figures, ("lateness", "https", "late_ms_p99"), title, directory / "lateness.png")


def _bars(figures: Figures, where: tuple[str, str, str], title: str, path: Path) -> list[Path]:
    """Horizontal bars on a logarithmic axis, one for each contestant."""
    metric, scenario, figure = where
    values = {name: figures.get(metric, scenario, name, figure) for name in figures.contestants(metric)}
    measured = {name: value for name, value in values.items() if value}
    if not measured:
        return []
    plot, axes = _axes(0.32 * len(measured) + 0.9)
    names = list(reversed(measured))
    bars = axes.barh([_label(name) for name in names], [measured[name] for name in names], color=_colours(names))
    axes.bar_label(bars, fmt=lambda value: f"{value:,.3g}" if value < 1_000 else f"{value:,.0f}", padding=3, fontsize=7)
    axes.set_xscale("log")
    axes.margins(x=0.15)
    axes.set_title(title, fontsize=9)
    return _saved(plot, path)


def _web(figures: Figures, directory: Path) -> list[Path]:
    """Requests per second of the Flask application, for each endpoint."""
    names = [name for name in figures.contestants("web") if name != "ours_pool50"]
    if not names:
        return []
    plot, axes = _axes(3.2)
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        rates = [figures.get("web", endpoint, name, "requests_per_s") or 0.0 for endpoint in ENDPOINTS]
        places = [place + number * width for place in range(len(ENDPOINTS))]
        axes.bar(places, rates, width, label=_label(name))
    axes.set_xticks([place + 0.4 for place in range(len(ENDPOINTS))], list(ENDPOINTS))
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes.set_title("Requests per second of a Flask application, by what its endpoint does", fontsize=9)
    return _saved(plot, directory / "web.png")


def _axes(height: float) -> tuple[Any, Any]:
    from matplotlib import pyplot

    plot, axes = pyplot.subplots(figsize=(7.5, height))
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    return plot, axes


def _saved(plot: Any, path: Path) -> list[Path]:
    from matplotlib import pyplot

    plot.savefig(path, dpi=80, bbox_inches="tight")
    pyplot.close(plot)
    return [path]


def _label(name: str) -> str:
    return ENTRIES[name].label.replace("**", "")


def _colours(names: list[str]) -> list[str]:
    return [_LIMIT if ENTRIES[name].is_limit else _OURS if name.startswith("ours") else _PEER for name in names]
