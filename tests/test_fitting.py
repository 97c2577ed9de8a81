"""Targets in `fit`, `evaluate` and `predict`: the loss for a kind, classes of any values, weights of classes."""

import numpy as np
import pytest
from trainings import bits, clusters, mlp

import fastmlp as fm
from fastmlp import Dataset, nn
from fastmlp.data import load
from fastmlp.training.fitting import lines, row_weights

DATA = clusters(120)
X, K = DATA.features, DATA.labels
NAMES, ONE_HOT = np.array(["cat", "dog", "eel"]), np.eye(3, dtype=int)[K]
VALUES = {  # name -> the values of the classes 0, 1, 2
    "strings": NAMES,
    "from 1": np.array([1, 2, 3]),
    "with gaps": np.array([-5, 10, 2**40]),
}


class Own(nn.Sequential):
    """On the graph."""

    def forward(self, x):
        return super().forward(x)


def fitted(targets, model=None, outputs=3, **options):
    """(model, history) of two epochs; `kind`, `classes`, `sample_weight` go to the data."""
    arguments = {name: options.pop(name) for name in ("kind", "classes", "sample_weight") if name in options}
    fm.manual_seed(0)
    model = model or nn.MLP(8, (16,), outputs)
    data = Dataset(X, targets, **arguments)
    return model, fm.fit(model, data, **{"epochs": 2, "batch_size": 40, "progress": False} | options)


# --- values of classes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("graph", [False, True], ids=["engine", "graph"])
@pytest.mark.parametrize("name", VALUES)
def test_classes_of_any_values_train_as_their_numbers_do(name, graph):
    values = VALUES[name]
    make = (lambda: Own(*mlp())) if graph else mlp
    plain, first = fitted(K, make(), validation=0.25)
    model, history = fitted(values[K], make(), validation=0.25)
    assert bits(model) == bits(plain)
    assert history.column("validation_loss") == first.column("validation_loss")
    assert plain.classes_ is None
    assert np.array_equal(model.classes_, values)
    a, b = fm.evaluate(plain, DATA), fm.evaluate(model, Dataset(X, values[K]))
    assert (a.loss, a.accuracy) == (b.loss, b.accuracy)
    assert np.array_equal(b.classes_, values)
    if not graph:
        assert np.array_equal(fm.predict(model, X), values[fm.predict(plain, X)])
        assert fm.predict(model, X[0]) == fm.predict(model, X)[0]


def test_booleans_are_two_classes():
    model, _ = fitted(K == 1, outputs=2)
    plain, _ = fitted((K == 1).astype(int), outputs=2)
    assert bits(model) == bits(plain)
    assert model.classes_.tolist() == [False, True]
    assert fm.predict(model, X).dtype == bool


def test_a_model_with_one_output_predicts_no_class():
    """The largest of one number is number 0: a regression would give 0 for each row."""
    model = nn.MLP(8, (16,), 1)  # which no loss has trained: then the outputs are numbers, or labels
    with pytest.raises(ValueError, match=r"predict: the model has 1 output, no classes; Predictor\(model\)\(x\) gives"):
        fm.predict(model, X)
    model, _ = fitted(["cat"] * len(X), outputs=1)
    assert set(fm.predict(model, X)) == {"cat"}


@pytest.mark.parametrize("name", VALUES)
def test_other_data_are_looked_up_by_the_values(name):
    """A test set that lacks a class, or has its classes in another order, is numbered as the training set was."""
    values = VALUES[name]
    model, history = fitted(values[K], validation=Dataset(X[K > 0], values[K[K > 0]]))
    _, first = fitted(K, validation=Dataset(X[K > 0], K[K > 0], classes=3))
    assert history.column("validation_accuracy") == first.column("validation_accuracy")
    part = Dataset(X[K > 0], values[K[K > 0]])
    whole = fm.evaluate(model, Dataset(X, values[K]))
    assert fm.evaluate(model, part).accuracy == (whole.predicted == K)[K > 0].mean()
    turned = Dataset(X, values[K], classes=values[::-1])
    assert fm.evaluate(model, turned).loss == whole.loss
    with pytest.raises(ValueError, match=r"evaluate: data has the class 0 in row \d+; the classes are "):
        fm.evaluate(model, DATA)
    other = values[K].copy()
    other[7] = "fox" if name == "strings" else 77
    with pytest.raises(ValueError, match=r"fit: validation has the class ('fox'|77) in row 7; the classes are "):
        fitted(values[K], validation=Dataset(X, other))
    with pytest.raises(ValueError, match=r"evaluate: data has the class ('fox'|77) in row 7; the classes are "):
        fm.evaluate(model, Dataset(X, other))


def test_whole_numbers_are_looked_up_where_training_has_them_from_0_on():
    model, _ = fitted(K)
    part = K > 0
    accuracy = (fm.predict(model, X) == K)[part].mean()
    assert fm.evaluate(model, Dataset(X[part], K[part])).accuracy == accuracy
    with pytest.raises(
        ValueError, match=r"evaluate: data has the class 3 in row \d+; the classes are 0 .. 2, as model"
    ):
        fm.evaluate(model, Dataset(X, K + 1))
    model.classes_ = np.array([1, 2, 3])
    assert fm.evaluate(model, Dataset(X, K + 1)).accuracy == (fm.predict(model, X) == K + 1).mean()


def test_where_there_are_more_outputs_than_classes_whole_numbers_are_those_of_outputs(capsys):
    model, _ = fitted(K + 1, outputs=5, progress="table")
    plain, _ = fitted(K + 1, outputs=5, classes=5)
    assert bits(model) == bits(plain)
    assert model.classes_ is None
    assert "no training row has 2 of the 5 classes: 0, 4" in "".join(capsys.readouterr())


def test_a_model_that_was_fitted_keeps_its_classes():
    model, _ = fitted(NAMES[K])
    fm.fit(model, Dataset(X[K != 1], NAMES[K[K != 1]]), epochs=1, progress=False)
    assert model.classes_.tolist() == NAMES.tolist()
    fm.fit(model, Dataset(X, np.array(["u", "v", "w"])[K]), epochs=1, progress=False)
    assert model.classes_.tolist() == ["u", "v", "w"]
    fm.fit(model, DATA, epochs=1, progress=False)
    assert model.classes_ is None


def test_the_lines_say_which_classes_outputs_are(capsys):
    fitted(NAMES[K], progress="table", epochs=1)
    assert "the outputs are the classes 'cat', 'dog', 'eel'\n" in "".join(capsys.readouterr())
    fitted(K, progress="table", epochs=1)
    assert "classes" not in "".join(capsys.readouterr())
    fitted(NAMES[K], classes=["fox", *NAMES], outputs=4, progress="table", epochs=1)
    assert "no training row has the class 'fox'\n" in "".join(capsys.readouterr())
    fitted(["cat"] * len(X), outputs=1, progress="table", epochs=1)
    assert "there is one class, 'cat': nothing to tell apart" in "".join(capsys.readouterr())
    everything = np.arange(len(X))
    assert "each row has one label that is 1" in lines(Dataset(X, ONE_HOT), everything, 0)[0]
    assert lines(Dataset(X, np.minimum(ONE_HOT + ONE_HOT[::-1], 1)), everything, 0) == []


@pytest.mark.parametrize("values", [NAMES, np.array([1, 2, 3]), np.array([False, True])], ids=["str", "int", "bool"])
def test_files_of_weights_keep_the_values(tmp_path, values):
    model, _ = fitted(values[K % len(values)], outputs=len(values))
    fm.save(model, tmp_path / "m.safetensors")
    again = fm.load_model(tmp_path / "m.safetensors")
    assert np.array_equal(again.classes_, values)
    assert again.classes_.dtype == values.dtype
    assert np.array_equal(fm.predict(again, X), fm.predict(model, X))
    other = nn.MLP(8, (16,), len(values))
    fm.load(other, tmp_path / "m.safetensors")
    assert np.array_equal(other.classes_, values)
    plain, _ = fitted(K % len(values), outputs=len(values))
    fm.save(plain, tmp_path / "plain.safetensors")
    fm.load(other, tmp_path / "plain.safetensors")
    assert other.classes_ is None
    assert fm.load_model(tmp_path / "plain.safetensors").classes_ is None


@pytest.mark.parametrize("text", ["[1, 2", "3", "null", '["a"]', '["a", 1, true]', '["a", "a", "b"]', "[0.5, 1.5, 2.5]",
                                  "[[1], [2], [3]]", "[1, 2, 9223372036854775808]"])  # fmt: skip
def test_classes_of_another_program_in_a_header_are_passed_over(tmp_path, text):
    fm.save(mlp(), tmp_path / "m.safetensors", {"classes": text})
    assert fm.load_model(tmp_path / "m.safetensors").classes_ is None


# --- the loss for a kind ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "targets", "outputs", "loss"), [
    ("classes", K, 3, nn.CrossEntropyLoss), ("numbers", X[:, :2], 2, nn.MSELoss),
    ("probabilities", np.eye(3)[K], 3, nn.CrossEntropyLoss), ("labels", X[:, :3] > 1, 3, nn.BCEWithLogitsLoss),
])  # fmt: skip
def test_without_a_loss_the_kind_says_which(kind, targets, outputs, loss):
    model, history = fitted(targets, outputs=outputs, kind=kind)
    other, given = fitted(targets, outputs=outputs, kind=kind, loss=loss())
    assert bits(model) == bits(other)
    assert history.score_name == given.score_name


@pytest.mark.parametrize(("start", "values"), [(0, None), (1, [1, 2, 3])])
def test_whole_floats_become_classes_where_the_loss_asks_for_classes(capsys, start, values):
    floats = (K + start).astype(np.float64)
    model, history = fitted(floats, loss=nn.CrossEntropyLoss(), validation=Dataset(X, floats), progress="table")
    said = "".join(capsys.readouterr())
    assert "the targets are floats, all of them whole; CrossEntropyLoss takes them for classes" in said
    plain, first = fitted(K + start, validation=Dataset(X, K + start))
    assert bits(model) == bits(plain)
    assert history.column("validation_loss") == first.column("validation_loss")
    assert (model.classes_ is None) if values is None else (model.classes_.tolist() == values)
    found = fm.evaluate(model, Dataset(X, floats), loss=nn.CrossEntropyLoss())
    assert found.accuracy == fm.evaluate(model, Dataset(X, K + start)).accuracy
    watch = fm.Watch(Dataset(X, floats), rows=20)
    fitted(floats, loss=nn.CrossEntropyLoss(), callbacks=[watch])
    assert watch.epochs == [0, 1, 2]


CE, BCE = nn.CrossEntropyLoss(), nn.BCEWithLogitsLoss()
MISMATCHES = {  # what is refused -> (targets, arguments, words)
    "fractions as classes": (K + 0.5, {"loss": CE}, "numbers as targets; CrossEntropyLoss takes classes"),
    "a half among whole floats": (np.where(K == 0, 0.5, K), {"loss": CE}, "data has numbers as targets"),
    "one-hot integers": (ONE_HOT, {"loss": CE}, "labels as targets; CrossEntropyLoss takes classes or probabilities: "
                         "targets.argmax(axis=1) are the classes of one-hot rows"),
    "one-hot floats": (ONE_HOT.astype("f4"), {"loss": CE}, "numbers as targets; CrossEntropyLoss takes classes or"),
    "probabilities by type": (np.full((120, 3), 1 / 3), {"loss": CE}, 'Dataset(..., kind="probabilities") takes'),
    "classes for numbers": (K, {"loss": nn.MSELoss()}, ': Dataset(..., kind="numbers") takes them as numbers'),
    "booleans as labels": (K > 0, {"loss": BCE}, 'takes labels: Dataset(..., kind="labels") takes them as labels'),
    "floats 0 and 1 as labels": (ONE_HOT * 1.0, {"loss": BCE}, ': Dataset(..., kind="labels") takes them as labels'),
    "numbers as labels": (X[:, :3], {"loss": BCE}, "data has numbers as targets; BCEWithLogitsLoss takes labels"),
    "labels as numbers": (ONE_HOT, {"loss": nn.MSELoss()}, ': Dataset(..., kind="numbers") takes them as numbers'),
    "names for numbers": (NAMES[K], {"loss": nn.MSELoss()}, "data has classes as targets; MSELoss takes numbers"),
    "validation of another kind": (K, {"validation": Dataset(X, K + 0.5)}, "fit: validation has numbers as targets"),
    "whole floats without a loss": (K * 1.0, {}, ': Dataset(..., kind="classes") takes whole numbers for classes'),
    "fewer outputs than names": (NAMES[K], {"outputs": 2}, "has 3 classes, 'cat', 'dog', 'eel'; the model has 2"),
    "more outputs than names": (NAMES[K], {"outputs": 5}, "the model has 5 outputs, they must be as many"),
    "prices with one output": (K + 100, {"outputs": 1}, 'they must be as many; kind="numbers" takes them as numbers'),
    "counts with one output": (K, {"outputs": 1}, 'labels are 0 .. 0: Dataset(..., kind="numbers") takes them'),
    "booleans with one output": (K > 0, {"outputs": 1}, 'they must be as many; kind="labels" takes them as one label'),
    "probabilities of another width": (np.full((120, 4), 0.25), {"kind": "probabilities"}, "4 targets a row"),
    "a watch of numbers": (K, lambda: {"callbacks": [fm.Watch(Dataset(X, K + 0.5))]}, "Watch: data has numbers as"),
}  # fmt: skip


@pytest.mark.parametrize("case", MISMATCHES)
def test_a_mismatch_is_refused_before_the_first_step(case):
    targets, arguments, words = MISMATCHES[case]
    arguments = dict(arguments() if callable(arguments) else arguments)
    fm.manual_seed(0)
    model = nn.MLP(8, (16,), arguments.pop("outputs", 3))
    before = bits(model)
    with pytest.raises(ValueError) as caught:
        fitted(targets, model, **arguments)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert bits(model) == before


# --- weights of classes ----------------------------------------------------------------------------------------------


def balanced(labels):
    """n / (C n_c), as scikit-learn's documentation has it."""
    counts = np.bincount(labels)
    return len(labels) / (len(counts) * counts)


UNEVEN = np.sort(np.random.default_rng(0).choice(3, 120, p=[0.7, 0.2, 0.1]))


def test_class_weight_is_the_weight_of_the_rows():
    by_class = balanced(UNEVEN)
    expected = bits(fitted(UNEVEN, sample_weight=by_class[UNEVEN])[0])
    assert expected != bits(fitted(UNEVEN)[0])
    for weight in ("balanced", dict(enumerate(by_class)), {np.int64(k): w for k, w in enumerate(by_class)}):
        assert bits(fitted(UNEVEN, class_weight=weight)[0]) == expected
    assert bits(fitted(NAMES[UNEVEN], class_weight="balanced")[0]) == expected
    assert bits(fitted(NAMES[UNEVEN], class_weight=dict(zip(NAMES, by_class, strict=True)))[0]) == expected
    some = fitted(NAMES[UNEVEN], class_weight={"dog": 3})[0]
    assert bits(some) == bits(fitted(UNEVEN, sample_weight=np.where(UNEVEN == 1, 3.0, 1.0))[0])


def test_class_weight_multiplies_the_weights_of_rows_and_is_no_part_of_the_score():
    own = np.random.default_rng(1).random(120)
    model, history = fitted(UNEVEN, class_weight={1: 2.0}, sample_weight=own)
    other, given = fitted(UNEVEN, sample_weight=own * np.where(UNEVEN == 1, 2.0, 1.0))
    assert bits(model) == bits(other)
    assert history.column("train_loss") == given.column("train_loss")
    assert history.column("train_accuracy") != given.column("train_accuracy")


def test_balanced_counts_the_rows_that_are_trained_on():
    held = Dataset(X, UNEVEN).split_rows(0.5)[1]
    rest = np.setdiff1d(np.arange(120), held)
    by_class = balanced(UNEVEN[rest])
    assert not np.allclose(by_class, balanced(UNEVEN))
    model, history = fitted(UNEVEN, class_weight="balanced", validation=0.5)
    weighted = fitted(UNEVEN, class_weight=dict(enumerate(by_class)), validation=0.5)
    assert bits(model) == bits(weighted[0])
    plain = fm.evaluate(model, Dataset(X[held], UNEVEN[held], classes=3))
    # the mean of the rows' losses, added up by the same kernel: one rounding apart at most
    assert history[-1].validation_loss == pytest.approx(plain.loss, rel=1e-6)


def test_a_class_without_rows_takes_no_share_of_balanced():
    """The mean weight of a row is 1: a loss that is a sum has the same size with and without."""
    two = Dataset(X, np.where(UNEVEN == 0, 0, 2), classes=4)
    rows, counts = np.arange(120), np.bincount(two.labels)
    weights = row_weights(two, rows, "balanced", CE, 4)
    assert np.allclose(weights, 120 / (2 * counts[two.labels]), rtol=1e-15)
    assert weights.mean() == pytest.approx(1, rel=1e-12)


def test_balanced_is_that_of_scikit_learn():
    peer = pytest.importorskip("sklearn.utils.class_weight", reason="it is the peer; `make test-peers` installs it")
    own = np.random.default_rng(1).random(120)
    for weights in (None, own):
        theirs = peer.compute_class_weight("balanced", classes=NAMES, y=NAMES[UNEVEN], sample_weight=weights)
        rows = theirs[UNEVEN] if weights is None else theirs[UNEVEN] * weights
        model = fitted(NAMES[UNEVEN], class_weight="balanced", sample_weight=weights)[0]
        other = fitted(NAMES[UNEVEN], sample_weight=rows)[0]
        for ours, their in zip(model.parameters(), other.parameters(), strict=True):
            # shares of a batch are rounded to float32 from weights that differ in their last bit of float64
            np.testing.assert_allclose(ours.data, their.data, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("weight", "error", "words"),
    [
        ({"fox": 2}, ValueError, "class_weight has the class 'fox'; the classes are 'cat', 'dog', 'eel'"),
        ({0: 2}, ValueError, "class_weight has the class 0; the classes are 'cat'"),
        ({None: 2}, ValueError, "class_weight has the class None"),
        ({"cat": -1}, ValueError, "class_weight of 'cat' is -1; it must be a finite number of at least 0"),
        ({"cat": "much"}, ValueError, "class_weight of 'cat' is 'much'"),
        ({"cat": float("inf")}, ValueError, "class_weight of 'cat' is inf"),
        (dict.fromkeys(NAMES, 0), ValueError, "class_weight is 0 for all rows to train on"),
        ("even", TypeError, "class_weight is 'even'; it must be \"balanced\", a dict of weights by class, or None"),
        ([1, 2, 3], TypeError, r"class_weight is \[1, 2, 3\]; it must be"),
    ],
)
def test_class_weight_refuses(weight, error, words):
    with pytest.raises(error, match="fit: " + words):
        fitted(NAMES[K], class_weight=weight)


def test_class_weight_is_for_classes_and_not_beside_weights_of_the_loss():
    with pytest.raises(ValueError, match="fit: class_weight is for classes; the targets are numbers"):
        fitted(X[:, :3], class_weight="balanced")
    with pytest.raises(ValueError, match="class_weight is given, and CrossEntropyLoss has a weight too; one of them"):
        fitted(K, loss=nn.CrossEntropyLoss(weight=[1.0, 2.0, 3.0]), class_weight="balanced")


# --- files -----------------------------------------------------------------------------------------------------------


def test_load_reads_strings_labels_weights_and_names(tmp_path):
    path = tmp_path / "a.npz"
    weights, columns = np.arange(120.0), [f"column {k}" for k in range(8)]
    np.savez(path, x_train=X, y_train=NAMES[K], x_test=X[:2], y_test=["fox", "cat"], sample_weight_train=weights,
             feature_names=columns)  # fmt: skip
    train, test = load(path)
    assert train.classes_.tolist() == test.classes_.tolist() == ["cat", "dog", "eel", "fox"]
    assert test.labels.tolist() == [3, 0]
    assert np.array_equal(train.sample_weight, weights)
    assert test.sample_weight is None
    assert train.feature_names == test.feature_names == tuple(columns)
    np.savez(path, features=X, targets=K > 0)
    assert load(path)[0].classes_.tolist() == [False, True]
    np.savez(path, features=X, labels=ONE_HOT, target_names=NAMES, sample_weight=weights)
    only, nothing = load(path)
    assert (only.kind, only.target_names, nothing) == ("labels", tuple(NAMES), None)
    assert np.array_equal(only.sample_weight, weights)
    assert load(path, kind="probabilities")[0].kind == "probabilities"
    np.savez(path, features=X, targets=K, kind="numbers")
    assert load(path)[0].kind == "numbers"
    assert load(path, kind="classes")[0].kind == "classes"
    np.savez(path, train_features=X, train_targets=K + 1, test_features=X, test_targets=K + 2)
    assert [part.classes_.tolist() for part in load(path)] == [[1, 2, 3, 4]] * 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "sorts"}, r"a\.npz array kind is 'sorts'; it must be one of"),
        ({"feature_names": ["a"]}, r"array feature_names is \(1,\) <U1; it must be 8 strings, a name a column"),
        ({"target_names": NAMES}, "array target_names is .*it must be 1 strings"),
        ({"sample_weight": np.ones(3)}, r"array sample_weight has the shape \(3,\); it must be \(120,\)"),
        ({"targets": np.array(["a", None] * 60)}, "array targets cannot be read: it holds Python objects .*astype"),
        ({"targets": NAMES[K].astype("S")}, r"array targets has the type \|S3.*astype\(str\)"),
    ],
)
def test_load_refuses_what_does_not_fit(tmp_path, change, words):
    np.savez(tmp_path / "a.npz", **{"features": X, "targets": X[:, 0]} | change)
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("train", "test", "words"),
    [
        (K, K.astype(str), "array y_test has classes of the type str; the training set's are int"),
        (K, K - 1, "array y_test has the label -1 in row"),
        (NAMES[K], K, "array y_test has classes of the type int; the training set's are str"),
        (K, K * 1.0, "array y_test has the type float64"),
        (ONE_HOT, ONE_HOT[:, :2], r"array y_test .*must be labels \(3,\)"),
    ],
)
def test_load_refuses_sets_of_two_problems(tmp_path, train, test, words):
    np.savez(tmp_path / "a.npz", x_train=X, y_train=train, x_test=X, y_test=test)
    with pytest.raises(ValueError, match=words):
        load(tmp_path / "a.npz")


@pytest.mark.parametrize("wrong", [{"clip_norm": -1.0}, {"average": "mean"}, {"schedule_every": "row"}])
def test_a_refused_fit_leaves_the_model_and_the_optimizer_as_they_were(wrong):
    fm.manual_seed(0)
    model = fm.nn.MLP(3, (4,), 2)
    optimizer = fm.optim.SGD(model.parameters(), lr=0.1)
    data = fm.Dataset(np.ones((6, 3), np.float32), ["a", "b"] * 3)
    optimizer.epochs, optimizer.averaged = 7, {"kind": "EMA"}
    with pytest.raises((ValueError, TypeError)):
        fm.fit(model, data, optimizer=optimizer, start_epoch=0, progress=False, **wrong)
    assert model.classes_ is None
    assert (optimizer.epochs, optimizer.averaged) == (7, {"kind": "EMA"})
