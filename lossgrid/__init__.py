"""lossgrid: the loss landscape of neural networks, computed on many ranks."""

import os

__version__ = "0.1.0"

# HDF5 reads this once, when h5py loads. Its own locks would keep readers from a file that a run
# is writing; `store.lock` keeps runs apart instead.
os.environ["HDF5_USE_FILE_LOCKING"] = "FALSE"
