from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lossgrid.errors import UserError
from lossgrid.models import digits_cnn, resnet20, resnet56
from lossgrid.models.resnet import Shortcut
from lossgrid.problem import (
    find_checkpoints,
    load_checkpoint,
    open_checkpoint,
    read_checkpoint,
    save_checkpoint,
)
from tests.shared import shared_file


def state() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {
        name: torch.randn(tensor.shape) if tensor.is_floating_point() else tensor
        for name, tensor in digits_cnn().state_dict().items()
    }


def assert_equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model_state_dict": state, "epoch": 3},
        lambda state: {"epoch": 3, "model": state},
        lambda state: {f"module.{name}": tensor for name, tensor in state.items()},
    ],
    ids=["state_dict", "nested", "by a script", "under model", "DataParallel"],
)
def test_reads(tmp_path: Path, wrap: Callable[[object], object], legacy: bool) -> None:
    path = tmp_path / "a.pt"
    torch.save(wrap(state()), path, _use_new_zipfile_serialization=not legacy)
    assert_equal(read_checkpoint(path), state())


def test_module_is_stripped_only_from_all_names(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "a.pt")
    assert list(read_checkpoint(tmp_path / "a.pt")) == ["module.a", "b"]


@pytest.mark.skipif(
    importlib.util.find_spec("safetensors") is None, reason="safetensors is not installed"
)
def test_reads_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    importlib.import_module("safetensors.torch").save_file(state(), path)
    assert_equal(read_checkpoint(path), state())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="cut short"):
        read_checkpoint(path)
    with pytest.raises(UserError, match="does not exist"):
        read_checkpoint(tmp_path / "none.safetensors")


def test_safetensors_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(UserError, match="pip install safetensors"):
        read_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("keep", [0.0, 0.001, 0.2, 0.5, 0.9, 0.999])
def test_file_cut_short(tmp_path: Path, legacy: bool, keep: float) -> None:
    path = tmp_path / "a.pt"
    torch.save(state(), path, _use_new_zipfile_serialization=not legacy)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(UserError, match=r"a\.pt cannot be read .*cut short"):
        read_checkpoint(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.pt does not exist"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(tmp_path)


class Trap:
    def __reduce__(self) -> object:
        return os.mkdir, ("lossgrid-trap",)


def test_nothing_is_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Trap()}, tmp_path / "a.pt")
    with pytest.raises(UserError, match="more than tensors"):
        read_checkpoint(tmp_path / "a.pt")
    assert not (tmp_path / "lossgrid-trap").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.ones(3), "an object of type Tensor"),
        ({}, "a dictionary with the keys none"),
        ({"net": {"a": torch.ones(1)}, "epoch": 3}, "the keys 'net', 'epoch'"),
        (nn.Linear(2, 2), "a whole module"),
        ({str(i): i for i in range(7)}, "'0', '1', '2', '3', '4' and 2 more"),
    ],
)
def test_other_contents(tmp_path: Path, content: object, words: str) -> None:
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(UserError, match=words):
        read_checkpoint(tmp_path / "a.pt")


def test_saves_what_it_reads_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.pt"
    save_checkpoint(state(), path)
    assert_equal(read_checkpoint(path), state())
    assert list(path.parent.iterdir()) == [path]


class Unpicklable(Tensor):
    def __reduce_ex__(self, protocol: object) -> object:
        raise OSError("No space left on device")


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint({"a": torch.ones(1)}, path)
    broken = torch.ones(1).as_subclass(Unpicklable)
    with pytest.raises(UserError, match=r"a\.pt cannot be written .*No space left"):
        save_checkpoint({"a": broken}, path)
    assert_equal(read_checkpoint(path), {"a": torch.ones(1)})
    assert list(tmp_path.iterdir()) == [path]


def test_save_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be written"):
        save_checkpoint(state(), tmp_path / "file" / "a.pt")


def load(tmp_path: Path, entries: dict[str, Tensor]) -> nn.Module:
    torch.save(entries, tmp_path / "a.pt")
    model = digits_cnn()
    load_checkpoint(model, tmp_path / "a.pt")
    return model


def test_loads_into_the_model(tmp_path: Path) -> None:
    assert_equal(load(tmp_path, state()).state_dict(), state())


def test_batch_counters_may_be_absent(tmp_path: Path) -> None:
    entries = {name: tensor for name, tensor in state().items() if "num_batches" not in name}
    loaded = load(tmp_path, entries).state_dict()
    assert_equal({name: loaded[name] for name in entries}, entries)


def test_names_and_shapes_that_differ_are_listed(tmp_path: Path) -> None:
    entries = state()
    del entries["bn1.weight"]
    entries["bn9.weight"] = torch.ones(3)
    entries["linear.weight"] = torch.ones(10, 255)
    with pytest.raises(UserError) as raised:
        load(tmp_path, entries)
    message = str(raised.value)
    assert "missing: bn1.weight;" in message
    assert "unexpected: bn9.weight;" in message
    assert "of another shape: linear.weight (10, 255) instead of (10, 256)" in message


def test_long_lists_are_counted(tmp_path: Path) -> None:
    torch.save(resnet56().state_dict(), tmp_path / "a.pt")
    with pytest.raises(
        UserError, match=r"unexpected: layer1\.3\.conv1\.weight(, [^,]+){4} and \d+ more\)"
    ):
        load_checkpoint(resnet20(), tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("name", "value"),
    [("conv2.weight", torch.nan), ("linear.bias", torch.inf), ("bn1.running_var", torch.nan)],
)
def test_weights_that_are_not_finite_are_named(tmp_path: Path, name: str, value: float) -> None:
    entries = state()
    entries[name].view(-1)[-1] = value
    with pytest.raises(UserError, match=rf"a\.pt has weights that are not finite \({name}\)"):
        load(tmp_path, entries)


def test_infinite_buffers_are_allowed(tmp_path: Path) -> None:
    entries = state()
    entries["bn1.running_mean"][0] = -torch.inf
    assert load(tmp_path, entries).get_buffer("bn1.running_mean")[0] == -torch.inf


@pytest.mark.parametrize(
    ("make", "name"),
    [(resnet20, "resnet20-12fca82f.th"), (resnet56, "resnet56-4bfd9763.th")],
)
def test_published_checkpoints_fit(make: Callable[[], nn.Module], name: str) -> None:
    path, model = shared_file(name), make()
    load_checkpoint(model, path)
    published = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    for entry, tensor in published.items():
        assert torch.equal(model.state_dict()[entry.removeprefix("module.")], tensor)


@pytest.mark.parametrize("shortcut", ["B", "none"])
def test_checkpoints_of_the_reference_code_fit(tmp_path: Path, shortcut: Shortcut) -> None:
    """A .t7 file as its training script wrote it with torch 0.3, before batches were counted."""
    written = resnet20(shortcut).state_dict()
    weights = {name: t for name, t in written.items() if not name.endswith("num_batches_tracked")}
    content = {"acc": 93.66, "epoch": 300, "state_dict": weights}
    path, model = tmp_path / "model_300.t7", resnet20(shortcut)
    torch.save(content, path, _use_new_zipfile_serialization=False)
    load_checkpoint(model, path)
    assert_equal(model.state_dict(), written)


def test_what_killed_processes_left_is_removed(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    host = os.uname().nodename
    left = tmp_path / f".a.pt.{host}.{dead.pid}.tmp"
    others = [
        tmp_path / f".a.pt.{host}.{os.getppid()}.tmp",  # it may still be writing
        tmp_path / f".a.pt.elsewhere.{dead.pid}.tmp",
        tmp_path / f".b.pt.{host}.{dead.pid}.tmp",
    ]
    for file in (left, *others):
        file.touch()
    save_checkpoint(state(), tmp_path / "a.pt")
    assert set(tmp_path.iterdir()) == {tmp_path / "a.pt", *others}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("beside", "epoch", "rate"),
    [
        ({}, None, None),
        ({"epoch": 3, "lr": 0.1}, 3, 0.1),
        ({"epoch": 3.5, "learning_rate": 0.25, "lr": 0.5}, 3.5, 0.25),
        ({"epoch": "third", "optimizer": {"lr": 1}}, None, None),
    ],
)
def test_opened_it_tells_what_lies_beside_the_weights(
    tmp_path: Path, beside: dict[str, object], epoch: float, rate: float, legacy: bool
) -> None:
    path = tmp_path / "a.pt"
    content = {"state_dict": state(), **beside}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = open_checkpoint(path, digits_cnn())
    assert_equal(dict(found.state), state())
    assert (found.epoch, found.learning_rate) == (epoch, rate)


def test_opened_it_must_fit_the_model(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a.pt does not fit the model"):
        open_checkpoint(tmp_path / "a.pt", resnet20())


def test_files_of_a_pattern_come_by_number(tmp_path: Path) -> None:
    for name in ("e-10.pt", "e-9.pt", "e-100.pt", "e-9b.pt", "best.pt", "f[1].pt", "f1.pt"):
        (tmp_path / name).touch()
    found = find_checkpoints([tmp_path / "e-*.pt", tmp_path / "best.pt", tmp_path / "f[1].pt"])
    names = ["e-9.pt", "e-9b.pt", "e-10.pt", "e-100.pt", "best.pt", "f[1].pt"]
    assert found == [tmp_path / name for name in names]
    assert find_checkpoints([tmp_path / "none.pt"]) == [tmp_path / "none.pt"]
    with pytest.raises(UserError, match=r"no file matches .*g-\*"):
        find_checkpoints([tmp_path / "g-*"])


def test_opened_it_has_what_files_need_not_hold(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("scale", torch.tensor([2.0, 3.0]), persistent=False)
    torch.save(model.state_dict(), tmp_path / "a.pt")
    found = open_checkpoint(tmp_path / "a.pt", model).state
    assert set(found) == {"weight", "bias", "scale"}
    assert torch.equal(found["scale"], torch.tensor([2.0, 3.0]))
