from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from lossgrid.errors import UserError
from lossgrid.view.figures.histogram import _draw, histogram
from lossgrid.view.figures.options import Options
from tests.view.figures.looking import texts


def checkpoint(path: Path, weight: torch.Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    norm = {
        "bn.weight": torch.full((5,), 50.0),
        "bn.num_batches_tracked": torch.ones((2, 2)).long(),
    }
    torch.save({"conv.weight": weight, **norm}, path)
    return path


def said(output: Path) -> list[str]:
    return texts(ElementTree.parse(output).getroot())


@pytest.fixture
def options(tmp_path: Path) -> Options:
    style = tmp_path / "texts.mplstyle"
    style.write_text("svg.fonttype: none")
    return Options(style=style)


def test_weights_of_each_checkpoint_are_counted_in_shared_bins() -> None:
    random = np.random.default_rng(0)
    weights = {
        "small": random.normal(0, 0.1, 4000).astype(np.float32),
        "large": random.normal(0, 0.5, 1000).astype(np.float32),
    }
    figure = Figure()
    _draw(figure, weights, logarithmic=True)
    small, large = figure.axes[0].patches
    edges = small.get_data().edges  # type: ignore[attr-defined]
    np.testing.assert_array_equal(edges, large.get_data().edges)  # type: ignore[attr-defined]
    assert small.get_data().values.sum() == 4000  # type: ignore[attr-defined]
    assert large.get_data().values.sum() == 1000  # type: ignore[attr-defined]
    expected, _ = np.histogram(weights["large"], edges)
    np.testing.assert_array_equal(large.get_data().values, expected)  # type: ignore[attr-defined]
    assert figure.axes[0].get_yscale() == "log"


def test_a_few_far_weights_do_not_flatten_the_rest() -> None:
    weights = np.append(np.random.default_rng(0).normal(0, 0.1, 10_000), [90.0, -90.0])
    figure = Figure()
    _draw(figure, {"a": weights.astype(np.float32)}, logarithmic=False)
    assert figure.axes[0].get_xlim()[1] < 1
    figure = Figure()
    _draw(figure, {"a": weights.astype(np.float32)}, logarithmic=True)
    assert figure.axes[0].get_xlim()[1] > 89


def test_only_weights_of_layers_are_counted(tmp_path: Path, options: Options) -> None:
    path = checkpoint(tmp_path / "net.pt", torch.tensor([[-1.0, 1.0], [-1.0, 1.0]]))
    output = tmp_path / "a.svg"
    assert histogram([path], output, options) == str(output)
    assert any(text.startswith("net: 4 weights, ") for text in said(output))


def test_names_tell_checkpoints_apart(tmp_path: Path, options: Options) -> None:
    weight = torch.randn(8, 8)
    paths = [checkpoint(tmp_path / folder / "same/net.pt", weight) for folder in ("a", "b")]
    histogram(paths, tmp_path / "a.svg", options)
    told = [text.partition(":")[0] for text in said(tmp_path / "a.svg")]
    assert {"a/same/net", "b/same/net"} <= set(told)


def test_weights_that_are_not_finite_are_told(tmp_path: Path, options: Options) -> None:
    weight = torch.randn(8, 8)
    weight[0, :3] = torch.tensor([float("nan"), float("inf"), -float("inf")])
    output = tmp_path / "a.svg"
    told = histogram([checkpoint(tmp_path / "net.pt", weight)], output, options)
    assert told == f"{output}\nnet: 3 weights not finite"
    with pytest.raises(UserError, match="net: has no finite weights"):
        histogram([checkpoint(tmp_path / "net.pt", weight * torch.nan)], output, options)
    with pytest.raises(UserError, match="net: has no finite weights"):
        histogram([checkpoint(tmp_path / "net.pt", torch.ones(3))], output, options)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_constant_weights_are_drawn(logarithmic: bool, tmp_path: Path) -> None:
    path = checkpoint(tmp_path / "net.pt", torch.full((3, 3), 0.25, dtype=torch.bfloat16))
    histogram([path], tmp_path / "a.png", Options(logarithmic=logarithmic))
    assert (tmp_path / "a.png").is_file()
