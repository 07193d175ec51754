"""The command line: one short function a command; heavy modules load when a command runs."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from lossgrid import __version__
from lossgrid.errors import RunFailedError, UserError
from lossgrid.exits import BAD_INPUT, status_of
from lossgrid.options import (
    FIGURE,
    FILE,
    JOB,
    LOOK,
    PAGE,
    PATH,
    SET,
    Range,
    by_name,
    numbers,
    with_options,
)
from lossgrid.streams import unfailing


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
            ctx.exit(status_of(error))


@click.group(
    cls=Sentences,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="lossgrid")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def commands(debug: bool) -> None:
    """Compute the loss landscape of a neural network, on one core or a cluster."""


@commands.command()
@click.argument("training", type=PATH)
@SET
@click.option("--overwrite", is_flag=True, help="Start anew, even if there are checkpoints.")
def train(training: Path, overrides: tuple[str, ...], overwrite: bool) -> int:
    """Train the network of a TRAINING file, with a checkpoint of every epoch; resumes by itself.

    Exit status: 0 complete, 2 bad input, 75 stopped by a signal with epochs left (run the same
    command again).
    """
    from lossgrid.commands.train import train

    return train(training, overrides, overwrite)


@commands.command()
@click.argument("checkpoint", type=PATH)
@click.option("--output", "-o", type=PATH, default=Path("job.yaml"), show_default=True)
@click.option("--factory", help="What builds the network: mymodel.py:build.")
@click.option(
    "--data",
    multiple=True,
    callback=by_name,
    metavar="SPLIT=FACTORY",
    help="Such as test=mymodel.py:test_set; may be repeated.",
)
@click.option("--loss", default="cross_entropy", show_default=True)
@click.option("--points", type=click.IntRange(1), default=51, show_default=True)
@click.option("--line", "is_line", is_flag=True, help="Along alpha alone.")
def init(checkpoint: Path, output: Path, **told: Any) -> int:
    """Write a commented job file for CHECKPOINT, and code to fill in for what is not named."""
    from lossgrid.commands.init import write_first_job

    click.echo(write_first_job(checkpoint, output, **told))
    return 0


@commands.command()
@JOB
@SET
@click.option("--overwrite", is_flag=True, help="Start anew, even if there are results.")
def run(job: Path, overrides: tuple[str, ...], overwrite: bool) -> int:
    """Evaluate what is pending of JOB; resumes by itself.

    Exit status: 0 complete, 1 a rank broke down, 2 bad input, 3 some points failed, or what comes
    after them (true values of checkpoints, spectra), 75 stopped by a signal with work left (run the
    same command again).
    """
    from lossgrid.run.steps import run

    return run(job, overrides, overwrite)


@commands.command()
@JOB
@SET
@click.option(
    "--ranks",
    type=click.IntRange(1),
    help="Ranks to predict the time for; one, or as many as compute a point together.",
)
def plan(job: Path, overrides: tuple[str, ...], ranks: int | None) -> int:
    """Show what running JOB would do and how long it would take; writes nothing."""
    from lossgrid.commands.plan import plan

    click.echo(plan(job, overrides, ranks))
    return 0


@commands.command()
@JOB
@SET
def trajectory(job: Path, overrides: tuple[str, ...]) -> int:
    """Show where the checkpoints of JOB lie on its plane, and a range that holds them.

    Writes nothing.
    """
    from lossgrid.run.projecting import trajectory

    click.echo(trajectory(job, overrides))
    return 0


@commands.command()
@FILE
@click.option("--json", "as_json", is_flag=True, help="One line of JSON, for programs.")
def status(file: Path, as_json: bool) -> int:
    """Show the progress of a results FILE, also during a run."""
    from lossgrid.commands.status import Status

    found = Status.of(file)
    click.echo(found.json() if as_json else found.text())
    return 0


@commands.command()
@FILE
@click.option("--every", type=Range(0.1), default=1.0, show_default=True, help="Seconds.")
@click.option("--column", help="What to show, such as test_loss.")
def watch(file: Path, every: float, column: str | None) -> int:
    """Show the run that is at work on a results FILE as it goes, with a preview of the surface.

    Ends with the run; Ctrl-C ends only this. Exit status: 0 complete, 3 some points failed, or
    what comes after them, 75 some are pending and no run is at work, 130 interrupted.
    """
    from lossgrid.commands.watch import watch

    return watch(file, every, column)


@commands.command()
@FILE
@with_options(FIGURE)
@click.option("--arrows", is_flag=True, help="Where the loss falls most steeply, if computed.")
@click.option("--errors", is_flag=True, help="Bands of two standard errors around curves.")
@click.option("--spectrum", is_flag=True, help="The Hessian's eigenvalues, if computed.")
@click.option("--layers", is_flag=True, help="What is known of each layer along a line.")
def plot(file: Path, output: Path | None, **options: Any) -> int:
    """Draw the contours of a plane, or the curves of a line, in a results FILE."""
    from lossgrid.store.results import read_results
    from lossgrid.view.figures.options import Options
    from lossgrid.view.figures.plot import plot

    kinds = [kind for kind in ("spectrum", "layers") if options[kind]]
    beside = file.with_name("-".join([file.stem, *kinds, *options["columns"]]) + ".png")
    click.echo(plot(read_results(file), output or beside, Options(**options)))
    return 0


@commands.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=PATH)
@click.option("--columns", "across", type=click.IntRange(1), help="Panels in a row.")
@with_options(FIGURE)
def compare(
    files: tuple[Path, ...], output: Path | None, across: int | None, **options: Any
) -> int:
    """Draw results FILEs side by side on one scale, each with its test error."""
    from lossgrid.store.results import read_results
    from lossgrid.view.figures.compare import compare
    from lossgrid.view.figures.options import Options

    output = output or files[0].with_name("compare.png")
    click.echo(compare([read_results(file) for file in files], output, Options(**options), across))
    return 0


@commands.command()
@click.argument("checkpoints", metavar="CHECKPOINT...", nargs=-1, required=True, type=PATH)
@click.option("--log/--linear", "logarithmic", default=False, help="Axis of the counts.")
@with_options(PAGE)
def histogram(checkpoints: tuple[Path, ...], output: Path | None, **options: Any) -> int:
    """Draw how the weights of CHECKPOINTs are distributed."""
    from lossgrid.view.figures.histogram import histogram
    from lossgrid.view.figures.options import Options

    output = output or checkpoints[0].with_name(f"{checkpoints[0].stem}-histogram.png")
    click.echo(histogram(checkpoints, output, Options(**options)))
    return 0


@commands.command()
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, type=PATH)
@click.option("--log/--linear", "logarithmic", default=False, help="Axis of the errors.")
@with_options(PAGE)
def convergence(runs: tuple[Path, ...], output: Path | None, **options: Any) -> int:
    """Draw the errors of training RUNs by epoch, and list how they ended.

    A RUN is the folder that `lossgrid train` has written, or the table in it.
    """
    from lossgrid.view.figures.convergence import convergence
    from lossgrid.view.figures.options import Options

    folder = runs[0] if runs[0].is_dir() else runs[0].parent
    output = output or folder / "convergence.png"
    click.echo(convergence(runs, output, Options(**options)))
    return 0


@commands.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=PATH)
@click.option("--output", "-o", type=PATH, help="By default a .vts file beside FILE.")
@with_options(LOOK)
@click.option("--trajectory", "run", metavar="NAME", help="Write this training run's path: .vtp.")
@click.option("--paraview", "script", type=PATH, help="Also write a ParaView script that draws it.")
def export(
    files: tuple[Path, ...],
    output: Path | None,
    run: str | None,
    script: Path | None,
    **look: Any,
) -> int:
    """Write a results FILE for other programs, chosen by the suffix of --output.

    .vts surface, .vtp its contour lines (or a trajectory), .vti flat image, .csv table, .nc netCDF,
    .h5 for the reference code, .npz for Landscaper; .pvd a series of surfaces on one scale from
    several FILEs.
    """
    from lossgrid.store.results import read_results
    from lossgrid.view.export import export, export_script, export_trajectory
    from lossgrid.view.relief import Look

    results = [read_results(file) for file in files]
    if run:
        if script or len(files) > 1:
            raise click.UsageError("--trajectory takes one FILE, and no --paraview")
        output = output or files[0].with_name(f"{files[0].stem}-{run}.vtp")
        (only,) = results
        click.echo(export_trajectory(only, only.trajectories, run, output, Look(**look)))
        return 0
    output = output or files[0].with_suffix(".vts")
    if script:
        click.echo(export_script(results, output, script, Look(**look)))
    else:
        click.echo(export(results, output, Look(**look)))
    if output.suffix.lower().startswith((".vt", ".pvd")):
        click.echo("ParaView 5.11 and newer open it; FILE itself is for 5.13 and newer.")
    return 0


@commands.command()
@FILE
@click.option("--output", "-o", type=PATH, help="By default a .vtkhdf file beside FILE.")
@click.option("--overwrite", is_flag=True, help="Replace results that are there.")
def convert(file: Path, output: Path | None, overwrite: bool) -> int:
    """Make a surface FILE of the reference code (.h5) a results file, for all other commands."""
    from lossgrid.commands.convert import convert

    click.echo(convert(file, output or file.with_suffix(".vtkhdf"), overwrite))
    return 0


@commands.command()
@FILE
@click.option("--output", "-o", type=PATH, help="By default an .html file beside FILE.")
@click.option("--column", help="What to show first, such as test_loss.")
def html(file: Path, output: Path | None, column: str | None) -> int:
    """Make a results FILE one interactive page, which opens in any browser without a network."""
    from lossgrid.store.results import read_results
    from lossgrid.view.page import write_page

    click.echo(write_page(read_results(file), column, output or file.with_suffix(".html")))
    return 0


@commands.command()
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=PATH)
@click.option("--column", help="Which loss, such as test_loss.")
@click.option("--levels", callback=numbers, default="0.1,1", show_default=True)
@click.option(
    "--epsilon",
    type=Range(0, min_open=True),
    default=0.1,
    show_default=True,
    help="Half the side of the box of the sharpness.",
)
@click.option(
    "--noise",
    type=Range(0),
    default=0.05,
    show_default=True,
    help="Minima shallower than this, relative to their value, don't count.",
)
@click.option("--csv", "form", flag_value="csv", help="A row a FILE.")
@click.option("--json", "form", flag_value="json", help="An object a FILE.")
def measure(files: tuple[Path, ...], column: str | None, form: str | None, **told: Any) -> int:
    """Measure the surface in results FILEs: sharpness, basin, convexity, roughness, minima."""
    from lossgrid.measure.measures import Options
    from lossgrid.measure.report import report

    click.echo(report(files, column, Options(**told), form or "text"))
    return 0


@commands.command()
@FILE
@click.option("--output", "-o", type=PATH, help="PNG file; by default FILE's name with -3d.")
@with_options(LOOK)
@click.option(
    "--camera",
    default="iso",
    show_default=True,
    help="iso, top, front, side, low, or azimuth,elevation in degrees.",
)
@click.option("--size", help="Pixels; by default 2400x1800, a turntable 960x720.")
@click.option("--background", help="Such as white; by default #0e1116, nearly black.")
@click.option("--transparent", is_flag=True, help="Without a background.")
@click.option("--colours", default="viridis", show_default=True, help="matplotlib's name of them.")
@click.option("--bar", is_flag=True, help="Add a colour bar.")
@click.option("--as-computed", is_flag=True, help="No smooth surface between the points.")
@click.option("--turntable", type=PATH, help="Film the surface turning: an MP4 or GIF file.")
@click.option("--frames", type=click.IntRange(2), help="Of a turntable; by default 120.")
@click.option("--seconds", type=Range(0.1), help="Of a turntable; by default 6.")
def render(file: Path, output: Path | None, turntable: Path | None, **options: Any) -> int:
    """Draw the surface in a results FILE in 3-D; needs neither display nor GPU.

    With --turntable a film of it, and the picture only if there is an --output.
    """
    from lossgrid.store.results import read_results
    from lossgrid.view.relief import Look
    from lossgrid.view.render import Turn, render, render_turntable
    from lossgrid.view.shot import Shot, parse_size

    told = {name: options.pop(name) for name in Turn.__dataclass_fields__}
    turning = {name: number for name, number in told.items() if number is not None}
    if turning and not turntable:
        raise click.UsageError("--frames and --seconds are of a film: name it with --turntable")
    results = read_results(file)
    look = Look(**{name: options.pop(name) for name in Look.__dataclass_fields__})
    size = parse_size(options.pop("size") or ("960x720" if turntable else "2400x1800"))
    background, transparent = options.pop("background"), options.pop("transparent")
    if background and transparent:
        raise click.UsageError("--transparent means no --background: leave one of them out")
    if background or transparent:
        options["background"] = background
    shot = Shot(size=size, **options)
    if turntable:
        click.echo(render_turntable(results, turntable, look, shot, Turn(**turning)))
    if output or not turntable:
        beside = file.with_name(f"{file.stem}-3d.png")
        click.echo(render(results, output or beside, look, shot))
    return 0


@commands.command()
@click.argument("jobs", metavar="JOB...", nargs=-1, required=True, type=PATH)
@SET
@click.option("--nodes", type=click.IntRange(1), default=1, show_default=True)
@click.option("--gpus-per-node", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--ranks-per-node",
    type=click.IntRange(1),
    help="Processes that compute; by default one a GPU, or one without GPUs.",
)
@click.option("--cpus-per-rank", type=click.IntRange(1), help="By default as SLURM does: mostly 1.")
@click.option("--time", help="Such as 2:00:00 or 1-12:00:00; a job that needs more goes on.")
@click.option("--partition", help="By default SLURM's own.")
@click.option(
    "--option",
    "options",
    multiple=True,
    metavar="--NAME=VALUE",
    help="Another option of sbatch, such as --option=--account=physics; may be repeated.",
)
@click.option("--setup", multiple=True, metavar="COMMAND", help="Such as 'module load cuda'.")
@click.option("--launcher", help="What starts the ranks, such as 'srun --mpi=pmix'.")
@click.option("--dry-run", is_flag=True, help="Only show the batch script.")
def submit(
    jobs: tuple[Path, ...],
    overrides: tuple[str, ...],
    ranks_per_node: int | None,
    setup: tuple[str, ...],
    launcher: str | None,
    dry_run: bool,
    **resources: Any,
) -> int:
    """Have SLURM run JOB; several JOBs become a job array, each with resources of its own.

    Shows the batch script, submits it, says how to follow it. When its time is over, the job stores
    what it has, queues itself again and goes on until it is complete.
    """
    from lossgrid.cluster.script import Resources
    from lossgrid.cluster.submit import script, submit

    ranks = ranks_per_node or max(1, resources["gpus_per_node"])
    asked = Resources(ranks_per_node=ranks, **resources)
    command = shlex.join(["lossgrid", *sys.argv[1:]])
    try:
        launch = None if launcher is None else shlex.split(launcher)
    except ValueError as error:
        raise UserError(f"--launcher {launcher}: {error}; close what is quoted") from error
    text, read = script(jobs, overrides, asked, launch, setup, command)
    click.echo(text, nl=False)
    if not dry_run:
        click.echo("\n".join(submit(text, read)))
    return 0


@commands.command()
@click.option("--training", is_flag=True, help="Of training files.")
def schema(training: bool) -> int:
    """Print the JSON schema of job files, by which editors complete and check them."""
    import json

    from lossgrid.job import Job, Training

    of_files = (Training if training else Job).model_json_schema()
    click.echo(json.dumps(of_files, indent=2))
    return 0


@commands.command()
def doctor() -> int:
    """Show what lossgrid finds on this machine, and how to get what is missing."""
    from lossgrid.commands.doctor import diagnose, report

    click.echo(report(diagnose()))
    return 0


@unfailing()  # the exit status is right even if nobody can read the sentence
def main() -> Any:
    """Run the command line and exit with its status."""
    try:
        status = commands.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        status = BAD_INPUT
    except click.Abort:
        click.echo("lossgrid: interrupted", err=True)
        status = BAD_INPUT
    sys.exit(status)
