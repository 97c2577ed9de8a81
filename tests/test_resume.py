"""A training that was ended and goes on: the same bits as one that never was; what differs is refused by name."""

import math
import os
from contextlib import contextmanager, nullcontext

import interruptions
import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import fastmlp as fm
from fastmlp.store.resume import resume
from fastmlp.training import checkpoint

EPOCHS, STEPS = 5, 8


class EndedError(Exception):
    """Ends a training right behind a checkpoint, as SIGKILL may."""


@contextmanager
def ended_after(steps):
    """Within this a training ends right behind its first checkpoint of so many steps; None: it does not."""
    write = checkpoint.Checkpoints.write

    def writing(self, done, state, say):
        write(self, done, state, say)
        if steps is not None and done >= steps and not state["ended"]:
            raise EndedError

    with interruptions.replaced(checkpoint.Checkpoints, "write", writing):
        yield


def features(rows=200):
    return np.random.default_rng(0).integers(0, 256, (rows, 64), dtype=np.uint8)


def classes():
    return fm.Dataset(features(), np.random.default_rng(1).integers(0, 10, 200))


def numbers():
    x = features()
    return fm.Dataset(x, x[:, :2].astype(np.float64) / 99, kind="numbers")


def labels():
    x = features()
    return fm.Dataset(x, (x[:, :3] > 127).astype(np.int64), kind="labels", sample_weight=np.linspace(0.5, 2, 200))


class Own(fm.nn.Module):
    """A model of a user's own classes, which runs on the graph."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = fm.nn.Linear(64, 12), fm.nn.BatchNorm1d(12), fm.nn.Linear(12, 10)
        self.drop = fm.nn.Dropout(0.3)

    def forward(self, x):
        return self.last(self.drop(fm.ops.relu(self.norm(self.first(x)))))


class HalfMSELoss(fm.nn.MSELoss):
    """A loss of a user's own class."""


class Counting:
    """A callback with a state."""

    def __init__(self):
        self.seen = []

    def __call__(self, model, history):
        self.seen.append(history[-1].epoch)

    def state_dict(self):
        return {"seen": list(self.seen)}

    def load_state_dict(self, state):
        self.seen = list(state["seen"])


def mlp(outputs=10, **options):
    return fm.nn.MLP(64, (16,), outputs, **{"norm": "batch", "dropout": 0.2} | options)


def adam(model):
    return fm.optim.AdamW(model.parameters(), lr=3e-3)


def groups(model):
    first, *rest = model.parameters()
    return fm.optim.SGD([{"params": [first], "lr": 0.1, "momentum": 0.9}, {"params": rest}], lr=0.02)


# What a training may be made of: (data, model, optimizer, arguments of fit, what resume is handed again).
KINDS = {
    "plain": (classes, mlp, adam, dict, ()),
    "one cycle": (classes, mlp, adam, lambda: {"schedule": fm.optim.OneCycleLR(max_lr=0.01)}, ()),
    "cosine a step": (classes, mlp, groups, lambda: {
        "schedule": fm.optim.CosineAnnealingLR(), "schedule_every": "step"}, ()),
    "sequential": (classes, mlp, adam, lambda: {
        "schedule": fm.optim.SequentialLR([fm.optim.LinearLR(0.1, 1.0, 2), fm.optim.ExponentialLR(0.8)], [2])}, ()),
    "plateau": (classes, mlp, adam, lambda: {
        "schedule": fm.optim.ReduceLROnPlateau(patience=0, threshold=0.05)}, ()),
    "ema": (classes, mlp, adam, lambda: {"average": fm.optim.EMA(0.9)}, ()),
    "swa": (classes, mlp, adam, lambda: {"average": fm.optim.SWA(2), "clip_norm": 0.5}, ()),
    "numbers": (numbers, lambda: mlp(2, norm="layer"), lambda m: fm.optim.RMSprop(m.parameters(), momentum=0.5),
                lambda: {"loss": fm.nn.HuberLoss(delta=0.5), "clip_value": 0.1}, ()),
    "labels": (labels, lambda: mlp(3, activation="prelu"), lambda m: fm.optim.NAdam(m.parameters()),
               lambda: {"loss": fm.nn.BCEWithLogitsLoss(pos_weight=np.array([1.0, 2, 3]))}, ()),
    "double": (classes, lambda: mlp().double(), lambda m: fm.optim.Adam(m.parameters(), amsgrad=True), dict, ()),
    "weights of classes": (classes, mlp, adam, lambda: {"class_weight": {3: 2.5, 4: 0.5}}, ()),
    "own model": (classes, Own, adam, dict, ("model",)),
    "own loss": (numbers, lambda: mlp(2), adam, lambda: {"loss": HalfMSELoss()}, ("loss",)),
}  # fmt: skip


def callbacks():
    return [fm.EarlyStopping("validation_loss", patience=3), Counting(), fm.Watch(classes())]


def everything(model, optimizer, history):
    """All that must be the same."""
    arrays = {name: array.tobytes() for name, array in model.state_dict().items()}
    state = {
        (i, name): value.tobytes() if isinstance(value, np.ndarray) else value
        for i, kept in optimizer.state.items() for name, value in kept.items()
    }  # fmt: skip
    epochs = [
        (e.epoch, e.train_loss, e.train_score, e.validation_loss, e.validation_score, e.ran_on) for e in history.epochs
    ]
    options = [sorted((name, value) for name, value in g.items() if name != "params") for g in optimizer.param_groups]
    return arrays, state, repr(epochs), repr(options), optimizer.epochs, history.score_name, sorted(optimizer.averaged)


def trained(kind, folder, graph=False, end_after=None, seen=None):
    """Train, with a checkpoint every 3 steps; ends behind the first one of `end_after` steps or more."""
    data, make, rule, options, _ = KINDS[kind]
    fm.manual_seed(0)
    model = make()
    optimizer = rule(model)
    with ended_after(end_after):
        seen = callbacks() if seen is None else seen
        if kind != "plain":
            seen = seen[:2]
        rows = data()
        history = fm.fit(
            model, rows, validation=0.2, optimizer=optimizer, epochs=EPOCHS, batch_size=20, progress=False, seed=3,
            callbacks=seen, checkpoint=folder, checkpoint_every=3, n_threads=2, **options(),
        )  # fmt: skip
    return model, optimizer, history


def gone_on(kind, folder, threads=1, seen=None, **more):
    data, make, _, options, again = KINDS[kind]
    handed = {}
    if "model" in again:
        fm.manual_seed(5)
        handed["model"] = make()
    if "loss" in again:
        handed["loss"] = options()["loss"]
    seen = callbacks() if seen is None else seen
    result = resume(
        folder, data(), callbacks=seen if kind == "plain" else seen[:2], n_threads=threads, progress=False,
        **handed, **more,
    )  # fmt: skip
    return result.model, result.optimizer, result.history


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_it_goes_on_to_the_same_bits(kind, graph, tmp_path):
    with interruptions.on_graph() if graph else nullcontext():
        wanted = everything(*trained(kind, tmp_path / "whole"))
        for end in (1, STEPS + 1, 2 * STEPS, 3 * STEPS - 1):
            folder = tmp_path / f"ended {end}"
            with pytest.raises(EndedError):
                trained(kind, folder, end_after=end)
            found = everything(*gone_on(kind, folder, threads=1 + end % 2))
            for now, then in zip(found, wanted, strict=True):
                assert now == then, f"ended after {end} steps"


@settings(deadline=None, max_examples=12, phases=[Phase.explicit, Phase.generate])  # to shrink takes minutes
@given(st.lists(st.integers(1, EPOCHS * STEPS), min_size=1, max_size=4), st.integers(1, 3))
def test_it_may_be_ended_again_and_again(tmp_path_factory, ends, threads):
    folder = tmp_path_factory.mktemp("again")
    wanted = everything(*trained("ema", tmp_path_factory.mktemp("whole")))
    found = None
    for number, end in enumerate([*sorted(ends), None]):
        with ended_after(end):
            try:
                found = gone_on("ema", folder, threads) if number else trained("ema", folder)
            except EndedError:
                continue
    assert found is not None
    assert everything(*found) == wanted


def test_callbacks_get_back_what_they_had_seen(tmp_path):
    whole, ended, again = callbacks(), callbacks(), callbacks()
    trained("plain", tmp_path / "whole", seen=whole)
    with pytest.raises(EndedError):
        trained("plain", tmp_path / "ended", seen=ended, end_after=2 * STEPS + 3)
    gone_on("plain", tmp_path / "ended", seen=again)
    (stop, counting, watch), (stopped, counted, watched) = whole, again
    assert counted.seen == counting.seen == list(range(1, len(counting.seen) + 1))
    assert (stopped.best_epoch, stopped.best, stopped.stale) == (stop.best_epoch, stop.best, stop.stale)
    assert watched.epochs == watch.epochs
    for layer, then in zip(watched.layers, watch.layers, strict=True):
        assert (layer.name, layer.title, layer.ratios, layer.dead) == (then.name, then.title, then.ratios, then.dead)
        for one in ("activations", "gradients"):
            now, before = getattr(layer, one), getattr(then, one)
            assert now.counts.tolist() == before.counts.tolist()
            assert (now.zeros, now.edges.tolist()) == (before.zeros, before.edges.tolist())


def test_a_training_that_is_over_finishes_once_more(tmp_path):
    wanted = everything(*trained("plain", tmp_path))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert everything(*gone_on("plain", tmp_path)) == wanted
    assert set(before) == {path.name for path in tmp_path.iterdir()}


def test_more_epochs_are_as_if_there_had_been_so_many(tmp_path):
    def fit(folder, epochs):
        fm.manual_seed(0)
        model = mlp()
        optimizer = adam(model)
        history = fm.fit(model, classes(), optimizer=optimizer, epochs=epochs, batch_size=20, progress=False,
                         checkpoint=folder)  # fmt: skip
        return model, optimizer, history

    wanted = everything(*fit(tmp_path / "five", 5))
    fit(tmp_path / "two", 2)
    result = resume(tmp_path / "two", classes(), epochs=5, progress=False)
    assert everything(result.model, result.optimizer, result.history) == wanted


def test_a_second_call_of_fit_with_one_optimizer_goes_on_too(tmp_path):
    """Epochs that were made before count: the order of rows, masks, schedules."""

    def fit(folder, steps):
        fm.manual_seed(0)
        model = mlp()
        optimizer, schedule = adam(model), fm.optim.StepLR(2, 0.5)
        fm.fit(model, classes(), optimizer=optimizer, epochs=2, batch_size=20, progress=False, schedule=schedule)
        with ended_after(steps):
            history = fm.fit(model, classes(), optimizer=optimizer, epochs=3, batch_size=20, progress=False,
                             schedule=fm.optim.StepLR(2, 0.5), checkpoint=folder, checkpoint_every=13)  # fmt: skip
        return model, optimizer, history

    wanted = everything(*fit(tmp_path / "whole", None))
    with pytest.raises(EndedError):
        fit(tmp_path / "ended", 1)
    result = resume(tmp_path / "ended", classes(), progress=False)
    assert everything(result.model, result.optimizer, result.history) == wanted
    assert [epoch.epoch for epoch in result.history.epochs] == [3, 4, 5]


def test_frozen_layers_stay_frozen(tmp_path):
    def fit(folder, steps):
        fm.manual_seed(0)
        model = mlp()
        model[1].eval()
        model[0].weight.requires_grad = False
        optimizer = adam(model)
        with ended_after(steps):
            history = fm.fit(model, classes(), optimizer=optimizer, epochs=3, batch_size=20, progress=False,
                             checkpoint=folder, checkpoint_every=13)  # fmt: skip
        return model, optimizer, history

    model, optimizer, history = fit(tmp_path / "whole", None)
    with pytest.raises(EndedError):
        fit(tmp_path / "ended", 1)
    result = resume(tmp_path / "ended", classes(), progress=False)
    assert everything(result.model, result.optimizer, result.history) == everything(model, optimizer, history)
    assert [m.training for m in result.model.modules()] == [m.training for m in model.modules()]
    assert not result.model[0].weight.requires_grad
    assert not result.model[1].training


def test_what_was_read_from_a_path_is_read_again(tmp_path):
    x, y = features(), np.random.default_rng(1).integers(0, 10, 200)
    np.savez(tmp_path / "d.npz", x_train=x[:150], y_train=y[:150], x_test=x[150:], y_test=y[150:])
    train, test = fm.data.load(tmp_path / "d.npz", scale=0.01)
    fm.manual_seed(0)
    model = mlp()
    fm.fit(model, train, validation=test, epochs=1, progress=False, checkpoint=tmp_path / "run")
    result = resume(tmp_path / "run", epochs=2, progress=False)
    fm.fit(model, train, validation=test, epochs=1, start_epoch=1, progress=False)
    assert [epoch.epoch for epoch in result.history.epochs] == [1, 2]
    np.savez(tmp_path / "d.npz", x_train=x[:150], y_train=y[50:], x_test=x[150:], y_test=y[150:])
    with pytest.raises(ValueError, match=r"resume: data of .*d\.npz has other targets; it must be what the training"):
        resume(tmp_path / "run", progress=False)
    (tmp_path / "d.npz").unlink()
    with pytest.raises(FileNotFoundError, match="does not exist"):
        resume(tmp_path / "run", progress=False)


@pytest.fixture
def ended(tmp_path):
    with pytest.raises(EndedError):
        trained("plain", tmp_path, end_after=11)
    return tmp_path


def test_other_rows_are_refused_by_what_differs(ended):
    x, y = features(), np.random.default_rng(1).integers(0, 10, 200)
    other, changed = y.copy(), x.copy()
    other[7], changed[150, 3] = (other[7] + 1) % 10, changed[150, 3] ^ 1
    for data, said in (
        (fm.Dataset(x[:199], y[:199]), "data has 199 rows, it had 200 rows; it must be what the training began with"),
        (fm.Dataset(x[:, :63], y), r"data has rows of the shape \(63,\), it had rows of the shape \(64,\)"),
        (
            fm.Dataset(x.astype(np.float32), y),
            "data has features of the type float32, it had features of the type uint8",
        ),
        (fm.Dataset(x, y, scale=1.0), "data has the scale 1.0, it had the scale 0.0039"),
        (fm.Dataset(x, y, classes=11), "data has 11 classes, it had 10 classes"),
        (fm.Dataset(x, other), "data has other targets"),
        (fm.Dataset(changed, y), "data has other features"),
        (fm.Dataset(x, y, sample_weight=np.ones(200)), "data has other sample_weight"),
        (None, "data is not given; the training had it as arrays, so it must be given again"),
    ):
        with pytest.raises(ValueError, match=f"^resume: {said}"):
            resume(ended, data, callbacks=callbacks(), progress=False)
    with pytest.raises(TypeError, match="resume: data is ndarray; it must be a fastmlp"):
        resume(ended, x, callbacks=callbacks(), progress=False)
    with pytest.raises(ValueError, match=r"resume: validation is given; the training held out 0\.2 of its own rows"):
        resume(ended, classes(), classes(), callbacks=callbacks(), progress=False)


def test_a_memory_map_is_known_by_a_part_of_it(tmp_path):
    np.save(tmp_path / "x.npy", features())
    y = np.random.default_rng(1).integers(0, 10, 200)

    def mapped():
        return fm.Dataset(np.load(tmp_path / "x.npy", mmap_mode="r"), y)

    fm.fit(mlp(), mapped(), epochs=1, progress=False, checkpoint=tmp_path / "run")
    assert len(resume(tmp_path / "run", mapped(), epochs=2, progress=False).history) == 2
    x = features()
    x[5, 5] ^= 1
    np.save(tmp_path / "x.npy", x)
    with pytest.raises(ValueError, match="resume: data has other features"):
        resume(tmp_path / "run", mapped(), progress=False)
    with pytest.raises(ValueError, match="resume: data has no file, it had a file of 12,928 bytes"):
        resume(tmp_path / "run", fm.Dataset(features(), y), progress=False)


def test_other_models_callbacks_and_things_are_refused_by_name(ended):
    data = classes()
    three = callbacks()
    for given_model, said in (
        (mlp(9), r"4\.weight of model is \(9, 16\) float32; it was \(10, 16\) float32"),
        (fm.nn.MLP(64, (16,), 10), r".* of model is .*; it was "),
        (mlp().double(), r"0\.weight of model is \(16, 64\) float64; it was \(16, 64\) float32"),
    ):
        with pytest.raises(ValueError, match=f"^resume: {said}"):
            resume(ended, data, model=given_model, callbacks=three, progress=False)
    with pytest.raises(TypeError, match="resume: model is int; it must be a fastmlp"):
        resume(ended, data, model=3, callbacks=three, progress=False)
    for given_callbacks, said in (
        ([], "callbacks holds none; it must hold those of the training in their order, EarlyStopping, Counting, Watch"),
        (
            three[::-1],
            "callbacks holds Watch, Counting, EarlyStopping; it must hold those of the training in their order, Early",
        ),
        ([fm.EarlyStopping("train_loss"), *three[1:]], "EarlyStopping: metric is 'train_loss'; the state is of"),
    ):
        with pytest.raises(ValueError, match=said):
            resume(ended, data, callbacks=given_callbacks, progress=False)
    for name, thing, said in (
        ("loss", fm.nn.MSELoss(), "loss is given; the training had a CrossEntropyLoss, which is made again"),
        ("schedule", fm.optim.StepLR(1), "schedule is given; the training had none"),
        ("average", fm.optim.EMA(), "average is given; the training had none"),
        ("optimizer", fm.optim.SGD(mlp().parameters(), lr=1), "optimizer is a SGD; it was a AdamW"),
    ):
        with pytest.raises(ValueError, match=f"^resume: {said}"):
            resume(ended, data, callbacks=three, progress=False, **{name: thing})


def test_what_is_of_the_users_own_must_be_handed_in(tmp_path):
    for kind, said in (
        ("own model", "model is not given; it is a Own of your own making, so it must be given again"),
        ("own loss", "loss is not given; it is a HalfMSELoss of your own making"),
    ):
        with pytest.raises(EndedError):
            trained(kind, tmp_path / kind, end_after=5)
        with pytest.raises(ValueError, match=f"^resume: {said}"):
            resume(tmp_path / kind, KINDS[kind][0](), callbacks=callbacks()[:2], progress=False)


def test_lines_name_what_is_not_kept(tmp_path, capsys):
    class Stateful:
        def start(self, model, optimizer):
            pass

        def __call__(self, model, history):
            pass

    fm.fit(Own(), classes(), epochs=1, progress="table", callbacks=[Stateful()], checkpoint=tmp_path)
    said = capsys.readouterr().out
    assert "checkpoint: Stateful has no state_dict; what it has seen is not kept" in said
    assert "checkpoint: resume(folder, model=...) needs the model, a Own, again" in said
    resume(tmp_path, classes(), model=Own(), callbacks=[Stateful()], epochs=2, progress="table")
    assert "the callback Stateful has no state_dict: it begins anew" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("one cycle", "resume: epochs is 9, it was 5; OneCycleLR took its length from it"),
        ("cosine a step", "resume: epochs is 9, it was 5; CosineAnnealingLR took its length from it"),
    ],
)
def test_epochs_stay_where_a_schedule_took_its_length_from_them(kind, said, tmp_path):
    with pytest.raises(EndedError):
        trained(kind, tmp_path, end_after=5)
    with pytest.raises(ValueError, match=said):
        gone_on(kind, tmp_path, epochs=9)


def test_epochs_stay_where_an_average_begins_at_a_fraction_of_them(tmp_path):
    def ending(model, history):
        raise EndedError

    with pytest.raises(EndedError):
        fm.fit(mlp(), classes(), epochs=8, progress=False, average="swa", checkpoint=tmp_path, checkpoint_every=1,
               callbacks=[ending])  # fmt: skip
    with pytest.raises(ValueError, match=r"resume: epochs is 20, it was 8; SWA\(start=0\.75\) begins at a fraction"):
        resume(tmp_path, classes(), callbacks=[ending], epochs=20, progress=False)


def test_epochs_out_of_range_and_a_stopped_training(ended, tmp_path_factory):
    for epochs in (0, 1, -1, 2.5, True):
        with pytest.raises(ValueError, match=r"resume: epochs is .*; it must be a whole number of at least 1"):
            resume(ended, classes(), callbacks=callbacks(), epochs=epochs, progress=False)
    folder = tmp_path_factory.mktemp("stopped")
    fm.fit(mlp(), classes(), epochs=3, progress=False, callbacks=[stop_at_once], checkpoint=folder)
    assert len(resume(folder, classes(), callbacks=[stop_at_once], progress=False).history) == 1
    with pytest.raises(ValueError, match="epochs is 9; a callback had stopped the training after 1, so it must stay"):
        resume(folder, classes(), callbacks=[stop_at_once], epochs=9, progress=False)


def stop_at_once(model, history):
    return True


def test_another_release_is_refused_and_another_machine_is_said(ended, monkeypatch, capsys):
    maker = checkpoint.maker()
    monkeypatch.setattr("fastmlp.store.resume.maker", lambda: maker | {"numpy": "9.9.9", "processor": "other"})
    resume(ended, classes(), callbacks=callbacks(), progress="table")
    said = capsys.readouterr().out
    assert f"the numpy is 9.9.9, it was {np.__version__}: the last bits of the result may be others" in said
    assert "the processor is other, it was " in said
    monkeypatch.setattr("fastmlp.store.resume.maker", lambda: maker | {"fastmlp": "9.0"})
    with pytest.raises(ValueError, match=r"was written by fastmlp .*, and this is 9\.0; it must be the same release"):
        resume(ended, classes(), callbacks=callbacks(), progress=False)


def test_a_training_that_diverged_does_not_go_on(tmp_path):
    data = fm.Dataset(features().astype(np.float32), np.random.default_rng(1).integers(0, 10, 200))
    model = mlp(norm=None)
    history = fm.fit(model, data, optimizer=fm.optim.SGD(model.parameters(), lr=1e30), epochs=3, progress=False,
                     checkpoint=tmp_path)  # fmt: skip
    assert math.isnan(history[-1].train_loss)
    with pytest.raises(ValueError, match="diverged in epoch 1, and would again; a new one needs a smaller learning"):
        resume(tmp_path, data, progress=False)


def test_a_folder_of_another_training_is_left_alone(ended):
    before = sorted(os.listdir(ended))
    with pytest.raises(ValueError, match=r"fit: checkpoint is .*, where checkpoint-0+\d+\.safetensors of another"):
        fm.fit(mlp(), classes(), epochs=1, progress=False, checkpoint=ended)
    assert sorted(os.listdir(ended)) == before


def test_what_a_callback_ended_goes_on_and_calls_it_again(tmp_path):
    """Callbacks before and behind the one that raises see each epoch once, as rates do."""

    class Raising(Counting):
        def __call__(self, model, history):
            super().__call__(model, history)
            if self.raises and len(history) == 2:
                raise EndedError

    def fit(folder, raises):
        fm.manual_seed(0)
        model, seen = mlp(), [Counting(), Raising(), Counting()]
        seen[1].raises = raises
        optimizer, schedule = adam(model), fm.optim.ReduceLROnPlateau(patience=0, threshold=0.9)
        history = fm.fit(model, classes(), optimizer=optimizer, epochs=4, batch_size=20, progress=False,
                         schedule=schedule, callbacks=seen, checkpoint=folder)  # fmt: skip
        return everything(model, optimizer, history), [callback.seen for callback in seen]

    wanted = fit(tmp_path / "whole", None)
    with pytest.raises(EndedError):
        fit(tmp_path / "ended", 1)
    again = [Counting(), Raising(), Counting()]
    again[1].raises = False
    result = resume(tmp_path / "ended", classes(), callbacks=again, progress=False)
    assert everything(result.model, result.optimizer, result.history) == wanted[0]
    assert [callback.seen for callback in again] == wanted[1] == [[1, 2, 3, 4]] * 3


def test_an_epoch_costs_the_same_whatever_came_before(tmp_path, monkeypatch):
    """What is kept for callbacks does not grow with the history."""
    sizes, seen = [], fm.training.loop.Loop._seen

    def noting(self):
        found = seen(self)
        sizes.append(len(repr(found)))
        return found

    monkeypatch.setattr(fm.training.loop.Loop, "_seen", noting)
    fm.fit(mlp(), classes(), epochs=40, batch_size=100, progress=False, checkpoint=tmp_path)
    assert max(sizes) - min(sizes) < 40


def test_the_state_of_a_callback_is_copied(tmp_path):
    """One that gives its own list, and changes it before the training is ended."""

    class Sharing(Counting):
        def state_dict(self):
            return {"n": len(self.seen), "seen": self.seen}

        def load_state_dict(self, state):
            assert state["n"] == len(state["seen"])
            super().load_state_dict(state)

    def ending(model, history):
        if len(history) == 3 and not again:
            raise EndedError

    again, callback = [], Sharing()
    with pytest.raises(EndedError):
        fm.fit(mlp(), classes(), epochs=4, progress=False, callbacks=[callback, ending], checkpoint=tmp_path)
    again.append(True)
    callback = Sharing()
    resume(tmp_path, classes(), callbacks=[callback, ending], progress=False)
    assert callback.seen == [1, 2, 3, 4]
