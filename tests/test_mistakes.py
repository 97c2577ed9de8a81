"""Mistakes that people make at the public doors: each is refused in one sentence that names the thing.

A row of a table is what somebody may type, the error, and words of its sentence. No sentence is NumPy's, Numba's or a
dict's own.
"""

import numpy as np
import pytest
from trainings import clusters, mlp, refuses, trained

import fastmlp as fm
from fastmlp import Dataset, Tensor, nn, ops, optim

DATA = clusters(60)
X, Y = DATA.features, DATA.labels
UNEVEN = [[1], [1, 2]]
RAW = ("ufunc", "has no attribute", "not iterable", "inhomogeneous", "not supported between", "ambiguous", "NoneType'",
       "os.PathLike", "SeedSequence", "could not convert", "subscriptable", "object is not", "could not be broadcast",
       "nopython", "unhashable", "has no len", "Errno")  # fmt: skip


class Sparse:
    """What SciPy's sparse matrices have in common: NumPy makes one object of them."""

    def toarray(self):
        return np.eye(8)


class Foreign:
    """A tensor of another library that NumPy cannot read."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on a Tensor that requires grad. Use detach().")


def tensor(shape=(2, 3), dtype=np.float32, requires_grad=True) -> Tensor:
    return Tensor(np.ones(shape, dtype), requires_grad)


def adam(**options) -> optim.Adam:
    return optim.Adam(mlp().parameters(), **options)


def sgd(**options) -> optim.SGD:
    return optim.SGD(mlp().parameters(), **options)


def assigned(name: str, value) -> None:
    setattr(tensor(), name, value)


def state_of(**changes) -> dict:
    return adam().state_dict() | changes


TENSORS = {
    "uneven rows": (lambda: Tensor(UNEVEN), ValueError, "Tensor: data is a list", "rows are uneven"),
    "a sparse matrix": (lambda: Tensor(Sparse()), ValueError, "sparse matrix", "toarray()"),
    "a masked array": (lambda: Tensor(np.ma.masked_array(X, X > 0)), ValueError, "masked", "filled()"),
    "a data set": (lambda: Tensor(DATA), ValueError, "Tensor: data is a Dataset"),
    "another library's": (lambda: Tensor(Foreign()), ValueError, "data is a Foreign", "Use detach()"),
    "grad of another shape": (lambda: assigned("grad", np.ones((3, 2), np.float32)), ValueError, "grad is (3, 2)",
                              "must be (2, 3) float32"),
    "grad of another type": (lambda: assigned("grad", np.ones((2, 3))), ValueError, "grad is (2, 3) float64"),
    "grad as a tensor": (lambda: assigned("grad", tensor()), ValueError, "grad is Tensor", "an array", "or None"),
    "grad as a list": (lambda: assigned("grad", [[1.0] * 3] * 2), ValueError, "grad is list"),
    "data of another type": (lambda: assigned("data", np.ones((2, 3))), ValueError, "data is (2, 3) float64"),
    "data as None": (lambda: assigned("data", None), ValueError, "data is NoneType"),
    "sum over no axis": (lambda: tensor().sum(2), ValueError, "sum: dim is 2", "(2, 3)", "-2..1"),
    "mean over a fraction": (lambda: tensor().mean(1.0), ValueError, "mean: dim is 1.0"),
    "sum over True": (lambda: tensor().sum(True), ValueError, "sum: dim is True"),
    "sum over an axis twice": (lambda: tensor().sum((0, -2)), ValueError, "dim is (0, -2)", "once"),
    "sum with both words": (lambda: tensor().sum(0, axis=1), TypeError, "dim is 0 and axis is 1", "left out"),
    "shapes that do not fit": (lambda: tensor() + np.ones(5), ValueError, "(2, 3) and (5,)", "last axis"),
    "shapes of two tensors": (lambda: tensor() * tensor((4, 3)), ValueError, "(2, 3) and (4, 3)"),
    "uneven operand": (lambda: tensor() * UNEVEN, ValueError, "arithmetic: the other operand is a list", "uneven"),
    "whole numbers to -1": (lambda: Tensor([1, 2]) ** -1, ValueError, "int64", "exponent -1"),
    "a text in place": (lambda: Tensor(1.0).__iadd__("a"), TypeError, "+=: the tensor is () float32", "'a'"),
    "a shape in place": (lambda: Tensor(np.ones(3)).__imul__(np.ones(4)), ValueError, "*=", "(3,) float64", "(4,)"),
    "division in place": (lambda: Tensor(np.ones(3, int)).__itruediv__(2), TypeError, "/=", "int64"),
    "gradient of uneven rows": (lambda: tensor().backward(UNEVEN), ValueError, "gradient is a list", "uneven"),
}  # fmt: skip

LAYERS = {
    "one hidden width": (lambda: nn.MLP(784, 128, 10), TypeError, "MLP: hidden is 128", "(128,)"),
    "hidden as a text": (lambda: nn.MLP(784, "128,64", 10), TypeError, "hidden is '128,64'"),
    "hidden left out": (lambda: nn.MLP(784, None, 10), TypeError, "hidden is None"),
    "all widths one by one": (lambda: nn.MLP(784, 128, 64, 10), TypeError, "hidden is 128"),
    "hidden behind the classes": (lambda: nn.MLP(784, 10, (128,)), TypeError, "hidden is 10"),
    "a hidden width as a text": (lambda: nn.MLP(4, ["8"], 3), ValueError, "MLP: hidden[0] is '8'"),
    "a hidden width of a fraction": (lambda: nn.MLP(4, (8, 8.0), 3), ValueError, "MLP: hidden[1] is 8.0"),
    "a width as activation": (lambda: nn.MLP(4, (8,), 8, 3), ValueError, "activation is 3", "stand in hidden"),
    "an activation's class": (lambda: nn.MLP(4, (8,), 3, nn.ReLU), ValueError, "activation is <class", "one of relu"),
    "activations": (lambda: nn.MLP(4, (8,), 3, ["relu"]), ValueError, "activation is ['relu']"),
    "dropout as a text": (lambda: nn.MLP(4, (8,), 3, dropout="0.5"), ValueError, "MLP: dropout is '0.5'"),
    "no dropout": (lambda: nn.MLP(4, (8,), 3, dropout=None), ValueError, "MLP: dropout is None"),
    "norms": (lambda: nn.MLP(4, (8,), 3, norm=["batch"]), ValueError, "norm is ['batch']"),
    "batch_norm as a text": (lambda: nn.MLP(4, (8,), 3, batch_norm="no"), TypeError, "batch_norm is 'no'"),
    "bias as a text": (lambda: nn.Linear(4, 3, "no"), TypeError, "Linear: bias is 'no'"),
    "a huge width": (lambda: nn.Linear(4, 10**25), ValueError, "Linear: out_features is 1000", "below 2**31"),
    "p as a text": (lambda: nn.Dropout("0.5"), TypeError, "Dropout: p is '0.5'"),
    "p of the operation": (lambda: ops.dropout(tensor(), None, seed=0), ValueError, "dropout: p is None"),
    "a seed as a text": (lambda: ops.dropout(tensor(), 0.5, seed="a"), ValueError, "dropout: seed is 'a'"),
    "no momentum": (lambda: nn.BatchNorm1d(8, momentum=None), TypeError, "BatchNorm1d: momentum is None"),
    "eps as a text": (lambda: nn.LayerNorm(8, eps="1e-5"), TypeError, "LayerNorm: eps is '1e-5'"),
    "a slope as a text": (lambda: ops.leaky_relu(tensor(), "a"), ValueError, "leaky_relu: negative_slope is 'a'"),
    "a module behind the end": (lambda: mlp()[7], IndexError, "module 7", "it has 3"),
    "a module by its name": (lambda: mlp()["0"], TypeError, "the index is '0'"),
    "a path as state": (lambda: mlp().load_state_dict("m.safetensors"), TypeError, "state_dict is str", "dict"),
    "a model as state": (lambda: mlp().load_state_dict(mlp()), TypeError, "state_dict is MLP"),
    "labels as texts": (lambda: ops.cross_entropy(tensor(), UNEVEN), ValueError, "cross_entropy: labels", "uneven"),
    "weights of rows as a text": (lambda: ops.cross_entropy(tensor(), [0, 1], sample_weight="a"), TypeError,
                                  "sample_weight is <U1"),
    "smoothing as a text": (lambda: nn.CrossEntropyLoss(label_smoothing="0.1"), ValueError, "label_smoothing is '0.1'"),
    "targets as texts": (lambda: ops.mse_loss(tensor(), [["a"] * 3] * 2), TypeError, "mse_loss: targets are <U1"),
    "complex targets": (lambda: ops.mse_loss(tensor(), np.ones((2, 3)) * 1j), TypeError, "complex128", "real"),
}  # fmt: skip

OPTIMIZERS = {
    "lr as a text": (lambda: adam(lr="1e-3"), TypeError, "Adam: lr is '1e-3'", "a number"),
    "no lr": (lambda: sgd(lr=None), TypeError, "SGD: lr is None"),
    "lr as True": (lambda: adam(lr=True), ValueError, "lr is True"),
    "lr as an array": (lambda: adam(lr=np.array([0.1, 0.2])), ValueError, "Adam: lr is array"),
    "a schedule as lr": (lambda: adam(lr=optim.StepLR(3)), TypeError, "lr is <fastmlp"),
    "one beta": (lambda: adam(betas=0.9), ValueError, "Adam: betas is 0.9", "two numbers"),
    "betas as texts": (lambda: adam(betas=("0.9", "0.99")), TypeError, "betas is ('0.9', '0.99')"),
    "eps as a text": (lambda: adam(eps="1e-8"), TypeError, "eps is '1e-8'"),
    "momentum as a text": (lambda: sgd(momentum="0.9"), TypeError, "SGD: momentum is '0.9'"),
    "dampening of NaN": (lambda: sgd(dampening=float("nan")), ValueError, "SGD: dampening is nan"),
    "nesterov as a text": (lambda: sgd(nesterov="no"), TypeError, "SGD: nesterov is 'no'"),
    "the rate first": (lambda: optim.Adam(0.1, mlp().parameters()), TypeError, "Adam: params is 0.1", "parameters()"),
    "the method itself": (lambda: optim.Adam(mlp().parameters), TypeError, "params is one method", "parameters()"),
    "no parameters": (lambda: optim.Adam(None), TypeError, "params is one NoneType"),
    "a group of none": (lambda: optim.Adam([{"params": None}]), TypeError, '"params" of a group is None'),
    "a group's lr": (lambda: optim.Adam([{"params": mlp().parameters(), "lr": "a"}]), TypeError, "lr is 'a'"),
    "an empty state": (lambda: adam().load_state_dict({}), ValueError, "Adam: state_dict is dict", '"param_groups"'),
    "no state": (lambda: adam().load_state_dict(None), ValueError, "state_dict is NoneType"),
    "a model's state": (lambda: adam().load_state_dict(mlp().state_dict()), ValueError, "of another form"),
    "groups of numbers": (lambda: adam().load_state_dict(state_of(param_groups=[3])), ValueError, "another form"),
    "names for numbers": (lambda: adam().load_state_dict(state_of(state={"a": {}})), ValueError, "another form"),
    "gamma as a text": (lambda: optim.StepLR(3, gamma="0.1"), ValueError, "StepLR: gamma is '0.1'"),
    "gamma below 0": (lambda: optim.StepLR(3, gamma=-1), ValueError, "StepLR: gamma is -1"),
    "a rule's name as step_size": (lambda: optim.StepLR("sgd", 3), ValueError, "StepLR: step_size is 'sgd'"),
}  # fmt: skip

RUNNING = {
    "a data set to predict": (lambda: fm.predict(mlp(), DATA), TypeError, "x is a Dataset", "data.rows"),
    "rows of a sparse matrix": (lambda: fm.predict(mlp(), Sparse()), ValueError, "sparse matrix", "toarray()"),
    "uneven rows to predict": (lambda: fm.predict(mlp(), UNEVEN), ValueError, "Predictor: x is a list", "uneven"),
    "a picture's name": (lambda: fm.predict(mlp(), "three.png"), ValueError, "x is 'three.png'", "array of numbers"),
    "nothing to predict": (lambda: fm.predict(mlp(), None), ValueError, "x is None"),
    "a tensor with grad": (lambda: fm.predict(mlp(), Tensor(X, True)), ValueError, "x is a Tensor", "detach()"),
    "threads of a fraction": (lambda: fm.Predictor(mlp(), 1.5), ValueError, "n_threads is 1.5", "or 'auto'"),
    "no threads": (lambda: fm.Predictor(mlp(), None), ValueError, "n_threads is None"),
    "rows that are none": (lambda: fm.Predictor(mlp()).logits(X, [0]), TypeError, "data is ndarray", "Dataset"),
    "row numbers of two axes": (lambda: fm.Predictor(mlp()).logits(DATA, [[0, 1]]), TypeError, "(1, 2)", "(n,)"),
    "one row number": (lambda: fm.Predictor(mlp()).logits(DATA, 3), TypeError, "row numbers are ()", "(n,)"),
    "a model without parameters": (lambda: trained(DATA, nn.Sequential()), ValueError, "without parameters"),
    "progress as an array": (lambda: trained(DATA, progress=np.ones(2)), ValueError, "fit: progress is"),
    "a complex validation": (lambda: trained(DATA, validation=np.complex64(0.2)), TypeError, "validation is complex64"),
    "a loss's class to watch": (lambda: fm.Watch(DATA, loss=nn.CrossEntropyLoss), TypeError, "Watch: loss is <class"),
    "no watch": (lambda: fm.TensorBoard("unused", watch=3), TypeError, "TensorBoard: watch is int"),
    "a column by its name": (lambda: fm.History()["train_loss"], TypeError, "history.column('train_loss')"),
    "an epoch that was not": (lambda: fm.History()[5], IndexError, "History: place 5", "0 epochs"),
    "uneven predictions": (lambda: fm.metrics.accuracy_score(UNEVEN, [1]), ValueError, "labels is a list", "uneven"),
}  # fmt: skip

DATA_SETS = {
    "a sparse matrix": (lambda: Dataset(Sparse(), Y), ValueError, "features is a sparse matrix", "toarray()"),
    "one-hot labels": (
        lambda: fm.fit(mlp(), Dataset(X, np.eye(3, dtype=int)[Y]), loss=nn.CrossEntropyLoss()),
        ValueError,
        "data has labels as targets",
        "argmax",
    ),
    "labels in a column": (lambda: Dataset(X, Y[:, None]), ValueError, "targets has the shape (60, 1)", "reshape(-1)"),
    "names and numbers": (lambda: Dataset(X, ["a"] * 59 + [1]), ValueError, "targets holds objects", "int, str"),
    "another library's": (lambda: Dataset(Foreign(), Y), ValueError, "features is a Foreign", "Use detach()"),
    "a seed as a text": (lambda: DATA.split(0.1, "a"), ValueError, "split: seed is 'a'"),
    "a seed below 0": (lambda: DATA.split(0.1, -1), ValueError, "split: seed is -1"),
    "no path": (lambda: fm.data.load(None), TypeError, "load: path is NoneType", "a path"),
    "a number as root": (lambda: fm.data.mnist(3), TypeError, "mnist: root is int"),
}

FILES = {
    "a path and no model": (lambda: fm.load("m.safetensors"), TypeError, "load: model is str", "load_model(path)"),
    "no path to load": (lambda: fm.load(mlp(), 3), TypeError, "load: path is int"),
    "path and model exchanged": (lambda: fm.save("m.safetensors", mlp()), TypeError, "save: model is str"),
    "a state to save": (lambda: fm.save(mlp().state_dict(), "m.safetensors"), TypeError, "save: model is dict"),
    "no path to save": (lambda: fm.save(mlp(), None), TypeError, "save: path is NoneType"),
    "a folder to save": (lambda: fm.save(mlp(), "."), FileNotFoundError, "save: . is a folder"),
    "no folder to save in": (lambda: fm.save(mlp(), "no/m"), FileNotFoundError, "save: no/m lies in no folder"),
    "numbers as metadata": (lambda: fm.save(mlp(), "m", {"epoch": 3}), TypeError, "metadata is {'epoch': 3}", "texts"),
    "a model to make": (lambda: fm.load_model(mlp()), TypeError, "load_model: path is MLP"),
    "no run": (lambda: fm.read_run(None), TypeError, "read_run: folder is NoneType"),
    "a model as a folder": (lambda: fm.Run(mlp()), TypeError, "Run: folder is MLP"),
    "a number as a name": (lambda: fm.Run(name=3), ValueError, "Run: name is 3"),
    "a list as configuration": (lambda: fm.Run("r", config=[1]), TypeError, "Run: config is list", "dict"),
    "an object in it": (lambda: fm.Run("r", config={"a": object()}), TypeError, "Run: config['a'] is object"),
    "no path for a table": (lambda: fm.History().to_csv(None), TypeError, "to_csv: path is NoneType"),
}

PLOTS = {
    "a number as axes": (lambda: fm.plots.loss_curve(fm.History([fm.Epoch(1, 1, 1, 1, 1, 1, 1)]), ax=3), TypeError,
                         "ax is int", "Axes"),
    "a number as shape": (lambda: fm.plots.first_layer(mlp(), 28), ValueError, "shape is 28", "(height, width)"),
    "a text as shape": (lambda: fm.plots.first_layer(mlp(), "24"), ValueError, "shape is '24'"),
    "a seed as a text": (lambda: fm.plots.sample_digits(Dataset(X.reshape(60, 2, 4), Y), seed="a"), ValueError,
                         "sample_digits: seed is 'a'"),
}  # fmt: skip

TABLES = {
    "tensors": TENSORS, "layers": LAYERS, "optimizers": OPTIMIZERS, "running": RUNNING, "data sets": DATA_SETS,
    "files": FILES, "plots": PLOTS,
}  # fmt: skip
CASES = {f"{table}: {name}": row for table, rows in TABLES.items() for name, row in rows.items()}


@pytest.mark.parametrize("case", CASES)
def test_a_mistake_is_refused_in_a_sentence_that_names_it(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    call, error, *words = CASES[case]
    refuses(error, call, *words)
    with pytest.raises(error) as caught:
        call()
    assert not [raw for raw in RAW if raw in str(caught.value)]
    assert not list(tmp_path.iterdir())  # nothing was written for it


# --- what is taken ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sum", "mean"])
def test_numpys_words_for_axes_are_taken_as_pytorch_takes_them(name):
    x = Tensor(np.arange(6.0).reshape(2, 3), requires_grad=True)
    given = getattr(x, name)
    for ours, theirs in (
        (given(1), given(axis=1)),
        (given(1, keepdim=True), given(axis=1, keepdims=True)),
        (given((0, 1)), given(axis=[0, 1])),
        (given(-1), given(dim=np.int64(1))),
        (given(), given(axis=None)),
    ):
        np.testing.assert_array_equal(ours.data, theirs.data)
        assert repr(ours.grad_fn.name()) == repr(theirs.grad_fn.name())
    given(axis=0).sum().backward()
    assert x.grad.shape == (2, 3)


def test_arrays_of_the_tensors_shape_and_type_are_taken_as_data_and_grad():
    x, new = tensor(), np.zeros((2, 3), np.float32)
    x.data, x.grad = new, new
    assert x.data is new
    assert x.grad is new
    x.grad *= 2
    x.grad = None
    assert x.grad is None
    point = Tensor(np.float32(2), requires_grad=True)
    point.grad = np.float32(3) * 2  # NumPy's number for an array without axes
    assert point.grad.shape == ()


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.int64])
def test_numpys_integers_count_as_pythons(kind):
    """8 bits end at 255: in sums and products they would begin anew."""
    fm.manual_seed(0)
    model = nn.MLP(kind(8), np.array([100], kind), kind(3))
    for ours, theirs in zip(model.parameters(), (fm.manual_seed(0), nn.MLP(8, (100,), 3))[1].parameters(), strict=True):
        np.testing.assert_array_equal(ours.data, theirs.data)
    data = clusters(300)
    histories = [trained(data, batch_size=k(16), epochs=k(2), seed=k(3))[1] for k in (kind, int)]
    assert histories[0].column("train_loss") == histories[1].column("train_loss")
    assert optim.StepLR(kind(100)).rate(1.0, 300, 400) == optim.StepLR(100).rate(1.0, 300, 400)
    many = np.arange(100) % 20
    assert fm.metrics.confusion_matrix(many, many, kind(20)).shape == (20, 20)
    assert fm.evaluate(mlp(), data, kind(100)).rows == 300


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Linear(4, 3), nn.Dropout(np.float32(0.25)), nn.Linear(3, 2)],
        [nn.Linear(4, 3), nn.LeakyReLU(-5), nn.Linear(3, 2)],
        [nn.Linear(4, 3, bias=False), nn.BatchNorm1d(3, eps=9, momentum=1), nn.Sigmoid(), nn.Linear(3, 2)],
        [nn.Linear(4, 3), nn.LayerNorm(3, eps=np.float64(7)), nn.Tanh(), nn.Linear(3, 2)],
    ],
)
def test_options_of_every_layer_come_back_from_a_file_alone(tmp_path, layers):
    """Whole numbers larger than any width, and NumPy's numbers, too."""
    model = nn.Sequential(*layers)
    fm.save(model, tmp_path / "m.safetensors")
    back = fm.load_model(tmp_path / "m.safetensors")
    for ours, theirs in zip(model, back, strict=True):
        assert type(ours) is type(theirs)
        for name in ours.arguments:
            assert ours.argument(name) == pytest.approx(theirs.argument(name), rel=1e-7)  # float32, as a text of it


def test_a_runs_configuration_may_hold_numpys_numbers(tmp_path):
    run = fm.Run(tmp_path / "run", config={"lr": np.float32(0.5), "n": np.int64(3), "w": np.arange(2), "p": tmp_path})
    run.write_config("running")
    text = (tmp_path / "run" / "config.json").read_text()
    assert '"lr": 0.5' in text
    assert '"n": 3' in text


def test_scores_are_better_when_high():
    """R² of a regression, in the order that a training has them: the last is the best."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3)).astype(np.float32)
    data = Dataset(x, x @ np.array([1.0, -2.0, 3.0]))
    stopper = fm.EarlyStopping("validation_score", patience=None)
    fm.manual_seed(0)
    model = nn.MLP(3, (8,), 1)
    history = fm.fit(model, data, 0.2, epochs=5, loss=nn.MSELoss(), callbacks=[stopper], progress=False)
    scores = history.column("validation_score")
    assert stopper.best == max(scores)
