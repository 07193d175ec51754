"""The results file: one HDF5 file that is a VTKHDF image, with the science beside it."""
