"""Data: files, arrays and frames become a `Dataset`, rows of features with a target each.

train, test = mnist()                      the copy in the source tree
train, test = fashion_mnist()              fetched once, as kmnist() and emnist("letters"); or from a folder
train, test = load("folder/or/file.npz")   IDX files of any such set, or arrays
dataset = load_svmlight_file("file.svm", n_features=9, zero_based=False)
train, test = table("table.csv", "price", test=0.2)    numbers, categories, missing values; frames too
rows = read_sparse_npz("file.npz")         what scipy.sparse.save_npz has written, for Dataset(rows, targets)
dataset = shards("folder")                 larger than memory: many files, of which rows are read as they are needed
dataset = Dataset(features, targets)       arrays in memory, frames of pandas and polars, sparse matrices of SciPy
"""

from . import images as images
from .dataset import Dataset
from .encoding import Encoding
from .files import load
from .idx import read_idx
from .published import emnist, fashion_mnist, kmnist, mnist
from .shard_files import shards
from .sparse import Sparse
from .sparse_files import load_svmlight_file, read_sparse_npz
from .streamed import Shards
from .tables import table

__all__ = [
    "Dataset",
    "Encoding",
    "Shards",
    "Sparse",
    "emnist",
    "fashion_mnist",
    "kmnist",
    "load",
    "load_svmlight_file",
    "mnist",
    "read_idx",
    "read_sparse_npz",
    "shards",
    "table",
]
