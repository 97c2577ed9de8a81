"""Data: files, arrays and frames become a `Dataset`, rows of features with a target each.

train, test = mnist()                      the copy in the source tree
train, test = load("folder/or/file.npz")   IDX files of any such set, or arrays
dataset = Dataset(features, targets)       arrays in memory, frames of pandas and polars, sparse matrices of SciPy
"""

from . import images as images
from .dataset import Dataset
from .files import load, mnist
from .idx import read_idx
from .sparse import Sparse

__all__ = ["Dataset", "Sparse", "load", "mnist", "read_idx"]
