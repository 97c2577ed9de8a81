"""Data: files and arrays become a `Dataset`, rows of features with one class each.

train, test = mnist()                      the copy in the source tree
train, test = load("folder/or/file.npz")   IDX files of any such set, or arrays
dataset = Dataset(features, labels)        arrays in memory
"""

from . import images as images
from .dataset import Dataset
from .files import load, mnist
from .idx import read_idx

__all__ = ["Dataset", "load", "mnist", "read_idx"]
