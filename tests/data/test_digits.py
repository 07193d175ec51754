from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lossgrid.data import digits
from lossgrid.errors import UserError


def rows(images: Any, labels: Any) -> list[tuple[bytes, int]]:
    pairs = zip(images.astype(np.uint8), labels, strict=True)
    return sorted((image.tobytes(), int(label)) for image, label in pairs)


def test_train_and_test_are_the_whole_set_once() -> None:
    train, test = digits(train=True), digits(train=False)
    assert (len(train), len(test)) == (1437, 360)
    both = rows(
        np.concatenate([train.inputs.numpy(), test.inputs.numpy()]),
        np.concatenate([train.targets.numpy(), test.targets.numpy()]),
    )
    whole = load_digits()
    assert both == rows(whole.images, whole.target)


def test_stored_as_bytes_and_scaled_to_one() -> None:
    split = digits(train=False)
    assert split.inputs.dtype == torch.uint8
    assert split.inputs.shape == (360, 1, 8, 8)
    inputs, labels = split.batch(0, len(split), torch.float64)
    assert torch.equal(inputs, split.inputs.double() / 16)
    assert labels.dtype == torch.int64


def test_every_class_is_in_the_test_set() -> None:
    assert digits(train=False).targets.bincount().min() > 20


def test_scikit_learn_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(UserError, match="pip install scikit-learn"):
        digits(train=True)
