"""The command line: one short function a command; heavy modules load when a command runs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from lossgrid import __version__
from lossgrid.errors import RunFailedError, UserError
from lossgrid.streams import unfailing

JOB = click.argument("job", type=click.Path(path_type=Path))
FILE = click.argument("file", type=click.Path(path_type=Path))
SET = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY.PATH=VALUE",
    help="Override a key of the job file; may be repeated.",
)


class Sentences(click.Group):
    """Commands whose failures are told in one sentence, unless --debug asks for the traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; bad input is exit status 2, a run that broke down 1."""
        try:
            return super().invoke(ctx)
        except (UserError, RunFailedError) as error:
            if ctx.params["debug"]:
                raise
            click.echo(f"lossgrid: {error}", err=True)
            ctx.exit(1 if isinstance(error, RunFailedError) else 2)


@click.group(
    cls=Sentences,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="lossgrid")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def commands(debug: bool) -> None:
    """Compute the loss landscape of a neural network, on one core or a cluster."""


@commands.command()
@JOB
@SET
@click.option("--overwrite", is_flag=True, help="Start anew, even if there are results.")
def run(job: Path, overrides: tuple[str, ...], overwrite: bool) -> int:
    """Evaluate what is pending of JOB; resumes by itself.

    Exit status: 0 complete, 1 a rank broke down, 2 bad input, 3 some points failed, 75 stopped by
    a signal with work left (run the same command again).
    """
    from lossgrid.run import run

    return run(job, overrides, overwrite)


@commands.command()
@JOB
@SET
@click.option(
    "--ranks",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Ranks to predict the time for.",
)
def plan(job: Path, overrides: tuple[str, ...], ranks: int) -> int:
    """Show what running JOB would do and how long it would take; writes nothing."""
    from lossgrid.planning import plan

    click.echo(plan(job, overrides, ranks))
    return 0


@commands.command()
@FILE
def status(file: Path) -> int:
    """Show the progress of a results FILE, also during a run."""
    from lossgrid.status import status

    click.echo(status(file))
    return 0


@commands.command()
@FILE
@click.option("--output", "-o", type=click.Path(path_type=Path), help="PDF, PNG or SVG file.")
@click.option("--column", help="What to draw, such as test_loss.")
def plot(file: Path, output: Path | None, column: str | None) -> int:
    """Draw the contours (or the curves of a line) in a results FILE."""
    from lossgrid.store.results import read_results
    from lossgrid.view.contour import plot_contour

    beside = file.with_name(f"{file.stem}-{column}.png") if column else file.with_suffix(".png")
    click.echo(plot_contour(read_results(file), column, output or beside))
    return 0


@commands.command()
def doctor() -> int:
    """Show what lossgrid finds on this machine, and how to get what is missing."""
    from lossgrid.doctor import diagnose, report

    click.echo(report(diagnose()))
    return 0


@unfailing()  # the exit status is right even if nobody can read the sentence
def main() -> Any:
    """Run the command line and exit with its status."""
    try:
        status = commands.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = 2
    except click.Abort:
        click.echo("lossgrid: interrupted", err=True)
        status = 2
    sys.exit(status)
