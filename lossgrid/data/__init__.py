"""The data sets that lossgrid reads."""

from __future__ import annotations

from lossgrid.data.arrays import hdf5, npz
from lossgrid.data.cifar import cifar10
from lossgrid.data.collated import Collated
from lossgrid.data.digits import digits
from lossgrid.data.normalization import ImageNormalization
from lossgrid.data.split import Split

__all__ = ["Collated", "ImageNormalization", "Split", "cifar10", "digits", "hdf5", "npz"]
