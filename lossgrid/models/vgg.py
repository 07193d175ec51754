"""VGG-9: a network in the manner of Simonyan and Zisserman (arXiv 1409.1556), for CIFAR.

It is the one of Li et al. (arXiv 1712.09913); parameters carry the names of their reference code,
github.com/tomgoldstein/loss-landscape.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from lossgrid.models.initial import initialize

FILTERS = ((64, 64), (128, 128), (256, 256, 256))
"""Of the convolutions between which images are halved."""


def vgg9(num_classes: int = 10) -> nn.Module:
    """Seven convolutions and two linear layers, BatchNorm after all but the last; 2.8 M parameters.

    Inputs have shape (n, 3, 32, 32), outputs are logits of shape (n, num_classes).
    """
    features: list[nn.Module] = []
    inplanes = 3
    for stage in FILTERS:
        for planes in stage:
            convolution = nn.Conv2d(inplanes, planes, kernel_size=3, padding=1)
            features += [convolution, nn.BatchNorm2d(planes), nn.ReLU()]
            inplanes = planes
        features.append(nn.MaxPool2d(2))
    network = nn.Sequential(
        OrderedDict(
            features=nn.Sequential(*features),
            flatten=nn.Flatten(),
            fc=nn.Sequential(
                nn.Linear(inplanes * 4 * 4, inplanes), nn.BatchNorm1d(inplanes), nn.ReLU()
            ),
            classifier=nn.Linear(inplanes, num_classes),
        )
    )
    initialize(network)
    return network
