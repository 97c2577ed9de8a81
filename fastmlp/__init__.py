"""fastmlp: train multi-layer perceptrons on hand-written kernels, and see how it is done.

    train, test = fastmlp.data.mnist()
    model = fastmlp.nn.MLP(784, (128, 64), 10)
    history = fastmlp.fit(model, train, epochs=10)
    print(fastmlp.evaluate(model, test).accuracy)

`data` reads, `nn` holds the layers, `optim` the update rules, `ops` the operations, `metrics` the measures; `Watch`
looks inside a net while it trains, `plots` draws, `report` writes the page about a run, `images` reads pictures.
"""

from . import arithmetic as arithmetic  # gives Tensor its operators
from . import data, images, metrics, nn, ops, optim, plots, report
from .checkpoint import load, load_model, save
from .data import Dataset
from .diagnosis import Diagnosis, diagnose
from .drawing import Drawing, draw
from .explain import explain, explain_backward
from .gradcheck import gradcheck
from .graph import AccumulateGrad, Node, Parameter, Tensor, is_grad_enabled, no_grad
from .metrics import Evaluation
from .nn import manual_seed
from .predict import Predictor, predict
from .run import Run, read_run
from .stopping import EarlyStopping
from .tensorboard import TensorBoard
from .train import Epoch, History, evaluate, fit
from .watch import Watch

__version__ = "0.1.0"
__all__ = [
    "AccumulateGrad",
    "Dataset",
    "Diagnosis",
    "Drawing",
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
    "Watch",
    "data",
    "diagnose",
    "draw",
    "evaluate",
    "explain",
    "explain_backward",
    "fit",
    "gradcheck",
    "images",
    "is_grad_enabled",
    "load",
    "load_model",
    "manual_seed",
    "metrics",
    "nn",
    "no_grad",
    "ops",
    "optim",
    "plots",
    "predict",
    "read_run",
    "report",
    "save",
]
