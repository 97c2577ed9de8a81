"""Pictures of a run. Each function returns a matplotlib Figure; those of one picture draw on `ax` where one is given.

    history                    loss_curve, accuracy_curve, curves
    an Evaluation              confusion_matrix, reliability, wrong_digits, save_wrong_digits
    a RegressionEvaluation     predicted_vs_true, residuals
    a MultilabelEvaluation     label_scores
    a Dataset, a model         sample_digits, first_layer
    a Watch                    activations, gradients, update_ratio
    an LRFind                  lr_find
    a Sweep                    sweep_parallel, sweep_best, sweep_importance

    with plots.style(dark=True):
        plots.curves(history).savefig("curves.png")

The figures are not registered with pyplot: nothing has to close them. matplotlib is imported when the first is drawn.
"""

from .digits import first_layer, sample_digits, save_wrong_digits, wrong_digits
from .history import accuracy_curve, curves, loss_curve
from .inside import activations, gradients, update_ratio
from .quality import confusion_matrix, reliability
from .rates import lr_find
from .style import style
from .sweeps import sweep_best, sweep_importance, sweep_parallel
from .targets import label_scores, predicted_vs_true, residuals

__all__ = [
    "accuracy_curve",
    "activations",
    "confusion_matrix",
    "curves",
    "first_layer",
    "gradients",
    "label_scores",
    "loss_curve",
    "lr_find",
    "predicted_vs_true",
    "reliability",
    "residuals",
    "sample_digits",
    "save_wrong_digits",
    "style",
    "sweep_best",
    "sweep_importance",
    "sweep_parallel",
    "update_ratio",
    "wrong_digits",
]
