"""What commands share: options made of settings, and how errors end."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import textwrap
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Callable, Mapping

from gevent_dispatcher._config import HttpConfig

if TYPE_CHECKING:
    # What a command's parser is added to. The name is argparse's own secret, but there is no other.
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]

# Exit codes of all commands but the doctor; the help of the command line says what they mean.
WELL, INCOMPLETE, USAGE, UNUSABLE = 0, 1, 2, 3

_SCRIPT, _MODULE = "gevent-dispatcher", "python -m gevent_dispatcher"
# Prose is no wider on a terminal that is, in columns.
_WIDEST = 100

HTTP_HELP = {
    "connect_timeout": "to open a connection, TLS included",
    "read_timeout": "the longest silence while an answer is awaited",
    "request_timeout": "one whole exchange, name look-up included",
}


def program() -> str:
    """How this command line was called."""
    return _SCRIPT if Path(sys.argv[0]).name == _SCRIPT else _MODULE


class Help(argparse.HelpFormatter):
    """Descriptions whose prose fits the terminal; what is indented stays as it is, so that it can be typed again."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        prose = textwrap.TextWrapper(min(width, _WIDEST), break_long_words=False, break_on_hyphens=False)
        blocks = groupby(text.replace(_MODULE, program()).splitlines(), lambda line: line[:1].strip() != "")
        laid_out = (prose.wrap(" ".join(lines)) if is_prose else lines for is_prose, lines in blocks)
        return "\n".join(line for block in laid_out for line in block)


def add_command(commands: Commands, name: str, help: str, description: str, **others: Any) -> argparse.ArgumentParser:
    """Add a command with a description."""
    command = commands.add_parser(
        name, help=help, description=description, formatter_class=Help, allow_abbrev=False, **others
    )
    command.set_defaults(complain=command.error)
    return command


# -- settings ----------------------------------------------------------------------------------------------------------


def add_settings(
    command: argparse.ArgumentParser, title: str, config: Any, helps: Mapping[str, str]
) -> argparse._ArgumentGroup:
    """Add an option for each of some settings; what is not given keeps the setting's default.

    Args:
        command: where to.
        title: of the group.
        config: the dataclass that has them.
        helps: what is said of each, by the setting's name.
    """
    group = command.add_argument_group(title)
    fields = {each.name: each for each in dataclasses.fields(config)}
    for name, help in helps.items():
        field = fields[name]
        group.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            type=field.metadata["kind"],
            metavar="SECONDS" if field.metadata["unit"] == "seconds" else "N",
            help=f"{help} (default: {_number(field.default)})",
        )
    return group


def _number(default: Any) -> str:
    return str(default) if isinstance(default, int) else f"{default:g}"


def add_http(command: argparse.ArgumentParser) -> None:
    """Add the options of HTTP; certificates are named by the environment."""
    group = add_settings(command, "how requests are sent", HttpConfig, HTTP_HELP)
    group.add_argument(
        "--header",
        dest="headers",
        type=_header,
        action="append",
        metavar="NAME:VALUE",
        help="added to each request that has none of this name; may be repeated; other users of the machine can see it",
    )
    group.add_argument("--proxy", metavar="URL", help="default: the environment's; '' for none")


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:  # the text may be a credential
        raise argparse.ArgumentTypeError("must be of the form NAME:VALUE")
    return name.strip(), value.strip()


def settings_of(options: argparse.Namespace, *helps: Mapping[str, str]) -> dict[str, Any]:
    """The settings that were given, those of HTTP included, as keywords.

    Args:
        options: as they were parsed.
        helps: what `add_settings` was given.
    """
    names = [*(name for each in helps for name in each), *HTTP_HELP, "proxy"]
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    return {**given, "headers": dict(options.headers)} if options.headers else given


def checked(options: argparse.Namespace, make: Callable[[], Any]) -> Any:
    """What `make` makes of options, or the end of the process when one is wrong."""
    try:
        return make()
    except (ValueError, TypeError) as error:
        return options.complain(str(error))


def fail(error: object) -> int:
    """Say why a queue cannot be used, and return the exit code for that.

    Raises:
        BrokenPipeError: it is the error; nobody reads what is printed.
    """
    if isinstance(error, BrokenPipeError):
        raise error
    print(f"gevent_dispatcher: {error}", file=sys.stderr)
    return UNUSABLE
