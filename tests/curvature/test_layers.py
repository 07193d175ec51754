from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lossgrid.curvature.derivatives import Derivatives
from lossgrid.curvature.layers import Layers, _own
from lossgrid.errors import UserError
from lossgrid.space import Layout
from tests.curvature.small import CPU, PLAN, derivatives, plane, problem, samples, trained

PLACE = (0.1, -0.05)


def there() -> torch.nn.Module:
    """The network at the place, made by hand."""
    network = trained().double()
    x, y = plane().directions.values()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name in x:
                parameter.add_(PLACE[0] * x[name] + PLACE[1] * y[name])
    return network


@pytest.mark.parametrize("lanes", [1, 3])
def test_activations_are_those_of_a_pass_over_all_samples(lanes: int) -> None:
    found = derivatives(replace(PLAN, batch_size=8), lanes)
    layers = Layers(found, None, lanes)
    assert layers.names == ["conv", "bn", "hidden", "out"]
    network, outputs = there(), {}
    for name in layers.names:
        module = network.get_submodule(name)
        module.register_forward_hook(lambda m, i, o, name=name: outputs.update({name: o}))
    network(samples().inputs)
    found.move(PLACE)
    means, spreads, zeros = layers.activations("train")
    for number, name in enumerate(layers.names):
        output = outputs[name].detach()
        assert float(means[number]) == pytest.approx(float(output.mean()), rel=1e-9)
        assert float(spreads[number]) == pytest.approx(float(output.std(correction=0)), rel=1e-9)
        assert float(zeros[number]) == float((output == 0).double().mean())


def test_zeros_are_counted() -> None:
    def clipped() -> torch.nn.Module:
        return torch.nn.Sequential(trained(), torch.nn.ReLU()).eval()

    moving = plane()
    layout = Layout([(f"0.{e.name}", e.group, e.shape) for e in moving.layout.entries])
    within = replace(moving, layout=layout, directions={})
    found = Derivatives(replace(problem(), build_model=clipped), within, PLAN, CPU, 1, ["train"])
    layers = Layers(found, ["1"], 1)
    share = float((trained().double()(samples().inputs) <= 0).double().mean())
    found.move((0.0, 0.0))
    assert 0 < share < 1
    assert float(layers.activations("train")[2, 0]) == pytest.approx(share)
    assert layers.weighted == []


def test_gradients_are_those_by_each_layers_own_parameters() -> None:
    found = derivatives()
    layers = Layers(found, None, 1)
    found.move(PLACE)
    network = there()
    split = samples()
    torch.nn.functional.cross_entropy(network(split.inputs), split.targets).backward()
    norms = layers.gradient_norms(found.gradient("train"))
    for name, norm in zip(layers.weighted, norms, strict=True):
        own = [p.grad.reshape(-1) for p in network.get_submodule(name).parameters()]
        assert norm == pytest.approx(float(torch.cat(own).norm()), rel=1e-9)
    assert layers.weighted == layers.names


def test_patterns_choose_any_modules() -> None:
    assert Layers(derivatives(), ["b*", "out"], 1).names == ["bn", "out"]
    assert Layers(derivatives(), ["*"], 1).names == ["Network", "conv", "bn", "hidden", "out"]
    assert Layers(derivatives(), ["Network"], 1).weighted == ["Network"]
    with pytest.raises(UserError, match=r"hooks\.layers: .* there are conv, bn, hidden, out"):
        Layers(derivatives(), ["fc*"], 1)


def test_layers_that_share_a_weight_both_have_it() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.Tanh(), torch.nn.Linear(3, 3))
    model[2].weight = model[0].weight
    names = [name for name, _ in model.named_parameters()]
    assert _own(names, "0", model) == ["0.weight", "0.bias"]
    assert _own(names, "2", model) == ["0.weight", "2.bias"]
    assert _own(names, "1", model) == []
    assert _own(names, "Sequential", model) == names
