"""`lossgrid init`: a commented job file for a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import indent

import torch
from torch import Tensor

from lossgrid import models
from lossgrid.errors import UserError
from lossgrid.job import read_job
from lossgrid.job.plainyaml import dump, parse
from lossgrid.problem import read_checkpoint
from lossgrid.view.saving import whole

CODE = "mymodel.py"

BUILD = '''
from torch import nn


def build() -> nn.Module:
    """The network, as it was when {checkpoint} was saved."""
    raise NotImplementedError("build your network here")
'''
TEST_SET = '''

def test_set():
    """(inputs, targets), tensors with one row a sample; or a map-style Dataset of such pairs."""
    raise NotImplementedError("load your data here")
'''

JOB = """\
# The landscape of {checkpoint} ({size}).
#
#   lossgrid plan {job}                      what it would do, and for how long
#   mpirun -n 4 python -m lossgrid run {job} (or: lossgrid run {job})
#
# Every key is explained in docs/jobs.md. Paths start at this file's folder.
model:
  factory: {factory}   # returns a torch.nn.Module
{kwargs}  checkpoint: {checkpoint}
  # expect: {{test_accuracy: 0.93}}   # stop at once if the data are not prepared as in training
data:
{data}
loss: {loss}   # or next_token, mse, "module:callable"
directions: {{kind: random, seed: 0}}   # filter-normalized, as in Li et al.
grid:
  alpha: {{min: -1, max: 1, points: {points}}}
{beta}
# evaluation: {{precision: bfloat16}}   # half the time; see docs/precision.md
# evaluation: {{tolerance: 0.01}}       # a fraction of the samples; see docs/tolerance.md
"""


ON_A_PLANE = "  beta: {{min: -1, max: 1, points: {points}}}   # leave it out for a line"
ON_A_LINE = "  # beta: {{min: -1, max: 1, points: {points}}}   # for a plane"


def write_first_job(
    checkpoint: Path,
    output: Path,
    factory: str | None,
    data: Mapping[str, str],
    loss: str,
    points: int,
    is_line: bool,
) -> str:
    """Write a job file for a checkpoint, and code to be filled in for what is not named.

    Args:
        checkpoint: a file of weights.
        output: the job file; must not be there.
        factory: of the network, as "module:callable"; None: one of lossgrid's own if its weights
            are of these names and shapes, else one to be written.
        data: factories of splits, by name; none: one to be written.
        loss: of the job.
        points: along an axis.
        is_line: whether there is no beta.

    Returns: what was written, and what is to be done next, for people.

    Raises:
        UserError: the checkpoint can't be read, or a file is there already.
    """
    state = read_checkpoint(checkpoint)
    where = _from_folder(checkpoint, output.parent)
    known = _recognized(state) if factory is None else None
    network, kwargs = known or (factory or f"{CODE}:build", {})
    missing = [BUILD.format(checkpoint=where)] * (factory is None and known is None)
    missing += [TEST_SET] * (not data)
    code = output.with_name(CODE)
    for path in [output] + [code] * bool(missing):
        if path.exists():
            named = "" if path == output else _how_to_name(factory, data)
            raise UserError(
                f"{path}: is there already; {named}move it away, or choose --output elsewhere"
            )
    splits = dict(data) or {"test": f"{CODE}:test_set"}
    numbers = sum(tensor.numel() for tensor in state.values())
    text = JOB.format(
        checkpoint=_quoted(str(where)),
        size=f"{len(state)} tensors, {numbers:,} numbers",
        job=output.name,
        factory=_quoted(network),
        kwargs=indent(dump({"kwargs": kwargs}), "  ") if kwargs else "",
        data="\n".join(
            f"  {split}: {{factory: {_quoted(spec)}}}" for split, spec in splits.items()
        ),
        loss=_quoted(loss),
        points=points,
        beta=(ON_A_LINE if is_line else ON_A_PLANE).format(points=points),
    )
    _write_checked(output, text)
    if missing:
        with whole(code) as partial:
            partial.write_text(f'"""What {output.name} names."""\n' + "".join(missing))
    told = [f"{output}: a job file, commented"]
    if known:
        told.append(f"the checkpoint fits {network}")
    elif factory is None:
        first = [f"{name} {tuple(tensor.shape)}" for name, tensor in [*state.items()][:3]]
        told.append(f"the checkpoint begins with {', '.join(first)}")
    if missing:
        told.append(f"{code}: fill in what is missing there")
    return "\n".join([*told, f"next: lossgrid plan {output}"])


def _quoted(text: str) -> str:
    """A text as YAML reads it back."""
    try:
        plain = parse(f"{{of: {text}}}") == {"of": text} == parse(f"of: {text}  # said")
    except ValueError:
        plain = False
    return text if plain else json.dumps(text)


def _how_to_name(factory: str | None, data: Mapping[str, str]) -> str:
    """Options that spare the writing of code: most likely it is in the file that is there."""
    options = [] if factory else [f"--factory {CODE}:build"]
    options += [] if data else [f"--data test={CODE}:test_set"]
    return f"name the functions in it ({' '.join(options)}), "


def _write_checked(output: Path, text: str) -> None:
    """Write a job file, unless it holds a name that can't be one."""
    with whole(output) as partial:
        partial.write_text(text)
    try:
        read_job(output)
    except UserError:
        output.unlink()
        raise


def _recognized(state: Mapping[str, Tensor]) -> tuple[str, dict[str, object]] | None:
    """Which of lossgrid's networks has tensors of these names and shapes, and its arguments."""
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    variants: Iterable[dict[str, object]] = ({}, {"shortcut": "none"}, {"shortcut": "B"})
    for kwargs in variants:
        for name in models.__all__:
            try:
                with torch.device("meta"):
                    network = getattr(models, name)(**kwargs)
            except TypeError:  # has no such argument
                continue
            own = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
            counters = {key for key in own if key.endswith("num_batches_tracked")}
            if own == shapes or {k: s for k, s in own.items() if k not in counters} == shapes:
                return f"lossgrid.models:{name}", kwargs
    return None


def _from_folder(path: Path, folder: Path) -> Path:
    """As the job file names it."""
    try:
        return path.absolute().relative_to(folder.absolute())
    except ValueError:
        return path.absolute()
