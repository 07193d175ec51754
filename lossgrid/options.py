"""Options that several commands have, and the kinds of values that options take."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
PATH = click.Path(path_type=Path)
JOB = click.argument("job", type=PATH)
FILE = click.argument("file", type=PATH)
SET = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY.PATH=VALUE",
    help="Override a key of the file; may be repeated.",
)


class Number(click.types.FloatParamType):
    """A finite number."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number; anything else is a usage error."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Range(click.FloatRange, Number):
    """A finite number within a range; click itself lets NaN into any."""


def by_name(ctx: click.Context, option: click.Parameter, texts: tuple[str, ...]) -> dict[str, str]:
    """Texts such as NAME=VALUE."""
    parts = [text.partition("=") for text in texts]
    for (name, equals, value), text in zip(parts, texts, strict=True):
        if not (name and equals and value):
            raise click.BadParameter(f"{text!r} is not like test=mymodel.py:test_set")
    return {name: value for name, _, value in parts}


def numbers(ctx: click.Context, option: click.Parameter, text: str | None) -> Any:
    """Finite numbers separated by commas."""
    try:
        found = None if text is None else tuple(float(number) for number in text.split(","))
    except ValueError:
        found = (math.nan,)
    if found and not all(map(math.isfinite, found)):
        raise click.BadParameter(f"{text!r} is not a list of numbers such as 0.1,1,10")
    return found


def levels(ctx: click.Context, option: click.Parameter, text: str | None) -> Any:
    """The same, or none at all."""
    return () if text == "none" else numbers(ctx, option, text)


LOOK = (
    click.option("--column", help="What the height shows, such as test_loss."),
    click.option("--log/--linear", "logarithmic", default=None, help="By default as in figures."),
    click.option("--clamp", type=Number(), help="The largest value; what is above lies at it."),
    click.option(
        "--scale",
        "stretch",
        type=Range(0),
        help="Height of one unit of value, or of a decade; by default it is half as high as wide.",
    ),
    click.option("--contours", "levels", callback=levels, help="Levels: 0.1,1,10, or none."),
)

PAGE = (
    click.option("--output", "-o", type=PATH, help="PDF, PNG or SVG file."),
    click.option("--style", type=PATH, help="Settings of matplotlib that differ: a .mplstyle."),
    click.option("--size", nargs=2, type=Range(0.5, 50), help="Inches: width, height."),
)
FIGURE = (
    click.option(
        "--column",
        "columns",
        multiple=True,
        help="What to draw, such as test_loss; may be repeated for panels or curves.",
    ),
    click.option("--kind", type=click.Choice(["filled", "lines", "heat"]), help="How planes look."),
    click.option("--log/--linear", "logarithmic", default=None, help="By default by the values."),
    click.option("--levels", callback=numbers, help="Levels of contour lines: 0.1,1,10."),
    click.option("--title/--no-title", default=True, help="Name, best point, what is missing."),
    click.option("--trajectory/--no-trajectory", default=True, help="Paths of training runs."),
    *PAGE,
)


def with_options(options: Sequence[Any]) -> Callable[[Command], Command]:
    """A decorator that gives a command several options."""
    return lambda command: reduce(lambda inner, option: option(inner), reversed(options), command)
