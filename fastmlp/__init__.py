"""fastmlp: train multi-layer perceptrons on hand-written kernels, and see how it is done.

    train, test = fastmlp.data.mnist()
    model = fastmlp.nn.MLP(784, (128, 64), 10)
    history = fastmlp.fit(model, train, epochs=10)
    print(fastmlp.evaluate(model, test).accuracy)

`data` reads, `nn` holds the layers, `optim` the update rules, `ops` the operations, `metrics` the measures; `Watch`
looks inside a net while it trains, `plots` draws, `report` writes the page about a run, `images` reads pictures,
`export` writes a model for elsewhere.
"""

from . import data, nn, ops, optim
from .data import Dataset, images
from .graph import AccumulateGrad, Node, Parameter, Tensor, is_grad_enabled, no_grad
from .nn import manual_seed
from .running.predict import Predictor, predict
from .show import plots, report
from .show.drawing import Drawing, draw
from .show.explain import explain, explain_backward
from .show.gradcheck import gradcheck
from .store import export
from .store.resume import resume
from .store.run import Run
from .store.saved_run import read_run
from .store.weights import load, load_model, save
from .training import metrics
from .training.calibration import calibrate
from .training.diagnosis import Diagnosis, diagnose
from .training.evaluation import Evaluation
from .training.finder import LRFind, lr_find
from .training.history import Epoch, History
from .training.multilabel import MultilabelEvaluation
from .training.regression import RegressionEvaluation
from .training.stopping import EarlyStopping
from .training.tensorboard import TensorBoard
from .training.train import evaluate, fit
from .training.watch import Watch

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
    "LRFind",
    "MultilabelEvaluation",
    "Node",
    "Parameter",
    "Predictor",
    "RegressionEvaluation",
    "Run",
    "Tensor",
    "TensorBoard",
    "Watch",
    "calibrate",
    "data",
    "diagnose",
    "draw",
    "evaluate",
    "explain",
    "explain_backward",
    "export",
    "fit",
    "gradcheck",
    "images",
    "is_grad_enabled",
    "load",
    "load_model",
    "lr_find",
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
    "resume",
    "save",
]
