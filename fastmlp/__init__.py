"""fastmlp: train multi-layer perceptrons on hand-written kernels, and see how it is done.

    train, test = fastmlp.data.mnist()
    model = fastmlp.nn.MLP(784, (128, 64), 10)
    history = fastmlp.fit(model, train, epochs=10)
    print(fastmlp.evaluate(model, test).accuracy)

`data` reads, `nn` holds the layers, `optim` the update rules, `ops` the operations, `plots` the pictures.
"""

from . import arithmetic as arithmetic  # gives Tensor its operators
from . import data, nn, ops, optim, plots
from .checkpoint import load, save
from .data import Dataset
from .diagnosis import Diagnosis, diagnose
from .gradcheck import gradcheck
from .graph import AccumulateGrad, Node, Parameter, Tensor, is_grad_enabled, no_grad
from .nn import manual_seed
from .predict import Predictor, predict
from .run import Run, read_run
from .stopping import EarlyStopping
from .tensorboard import TensorBoard
from .train import Epoch, Evaluation, History, evaluate, fit

__version__ = "0.1.0"
__all__ = [
    "AccumulateGrad",
    "Dataset",
    "Diagnosis",
    "EarlyStopping",
    "Epoch",
    "Evaluation",
    "History",
    "Node",
    "Parameter",
    "Predictor",
    "Run",
    "Tensor",
    "TensorBoard",
    "data",
    "diagnose",
    "evaluate",
    "fit",
    "gradcheck",
    "is_grad_enabled",
    "load",
    "manual_seed",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "plots",
    "predict",
    "read_run",
    "save",
]
