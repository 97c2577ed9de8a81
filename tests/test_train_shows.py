"""What `fit` calls, prints and leaves as it was: callbacks, the table, arrays, modes, optimizers."""

import math
import signal
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from trainings import Own, bits, by_hand, clusters, copied, mlp, trained

from fastmlp import History, Tensor, fit, nn, ops, optim

# --- callbacks -------------------------------------------------------------------------------------------------------


def test_a_callback_sees_each_epoch_when_it_is_over():
    seen = []
    model = mlp()

    def callback(given, so_far):
        seen.append((given is model, len(so_far), so_far[-1].epoch))

    history = fit(model, clusters(), epochs=3, progress=False, callbacks=[callback])
    assert seen == [(True, 1, 1), (True, 2, 2), (True, 3, 3)]
    assert history.column("epoch") == [1, 2, 3]


def test_a_callback_sees_the_weights_of_its_epoch():
    data, seen = clusters(), []
    trained(data, epochs=3, callbacks=[lambda model, _: seen.append(bits(model))])
    assert seen == [bits(trained(data, epochs=n)[0]) for n in (1, 2, 3)]


@pytest.mark.parametrize("answer", [True, np.True_])
def test_true_from_a_callback_stops_the_training(answer):
    calls = []
    second = lambda model, history: calls.append(len(history))  # noqa: E731
    _, history = trained(clusters(), epochs=5, callbacks=[lambda _, history: len(history) == 2 and answer, second])
    assert len(history) == 2
    assert calls == [1, 2]  # the others still see the last epoch


@pytest.mark.parametrize("answer", [None, False, np.False_, 1, "yes", [1]])
def test_any_other_answer_goes_on(answer):
    assert len(trained(clusters(), epochs=3, callbacks=(lambda *_: answer,))[1]) == 3


def test_callbacks_from_an_iterator_are_called_in_each_epoch():
    calls = []
    trained(clusters(), epochs=3, callbacks=iter([lambda *_: calls.append(1)]))
    assert len(calls) == 3


def test_a_learning_rate_that_a_callback_sets_holds_from_the_next_epoch():
    data, model = clusters(), mlp()
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    def freeze(*_):
        optimizer.param_groups[0]["lr"] = 0.0

    trained(data, model, optimizer=optimizer, epochs=3, callbacks=[freeze])
    once = mlp()
    trained(data, once, optimizer=optim.SGD(once.parameters(), lr=0.1), epochs=1)
    assert bits(model) == bits(once)


def test_weights_that_a_callback_sets_hold_from_the_next_epoch():
    data, model, start = clusters(), mlp(batch_norm=True), copied(mlp(seed=7, batch_norm=True))

    def set_once(model, history):
        if len(history) == 1:
            model.load_state_dict(start)

    trained(data, model, optimizer=optim.SGD(model.parameters(), lr=0.1), callbacks=[set_once])
    twin = mlp(batch_norm=True)
    optimizer = optim.SGD(twin.parameters(), lr=0.1)
    by_hand(twin, data, optimizer, [64, 64, 64, 64, 44], epochs=1)
    twin.load_state_dict(start)
    order = np.random.default_rng((0, 2)).permutation(300)
    for begin in range(0, 300, 64):
        rows = order[begin : begin + 64]
        twin.zero_grad()
        ops.cross_entropy(twin(Tensor(data.features[rows])), data.labels[rows]).backward()
        optimizer.step()
    assert bits(model) == bits(twin)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ZeroDivisionError])
def test_an_error_in_a_callback_comes_through_and_the_mode_is_restored(error):
    model = mlp(dropout=0.5).eval()

    def fail(*_):
        raise error

    with pytest.raises(error):
        trained(clusters(), model, callbacks=[fail])
    assert not any(module.training for module in model.modules())


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no interval timer")
def test_ctrl_c_during_an_epoch_leaves_a_model_that_goes_on():
    """A tenth of a second into a run without an end, the main thread gets what Ctrl-C sends."""
    data, model = clusters(5000), mlp(dropout=0.5).eval()
    trained(data, model, epochs=1)  # compiled, so that the signal meets a training
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(
        signal.ITIMER_REAL, 0.1, 1.0
    )  # again: a handler's error is lost in what a collection of garbage calls
    try:
        with pytest.raises(KeyboardInterrupt):
            trained(data, model, epochs=10**6)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert not any(module.training for module in model.modules())
    assert all(np.isfinite(array).all() for array in model.state_dict().values())
    _, history = trained(data, model, epochs=1)
    assert history[0].train_accuracy > 0.9  # it had learned, and goes on


def test_two_runs_side_by_side_do_not_meet():
    def run(seed: int) -> dict[str, bytes]:
        return bits(trained(data, models[seed], seed=seed, epochs=5, validation=0.1)[0])

    data = clusters(1000)
    models = [mlp(seed, dropout=0.3, batch_norm=True) for seed in (0, 1, 2)]
    alone = [bits(trained(data, mlp(seed, dropout=0.3, batch_norm=True), seed=seed, epochs=5, validation=0.1)[0])
             for seed in (0, 1, 2)]  # fmt: skip
    with ThreadPoolExecutor(3) as pool:
        assert list(pool.map(run, (0, 1, 2))) == alone


# --- a loss that is not finite ---------------------------------------------------------------------------------------


def diverging(**options) -> tuple[nn.Module, History]:
    model = mlp()
    return trained(clusters(), model, optimizer=optim.SGD(model.parameters(), lr=1e30), epochs=5, **options)


def test_a_loss_that_is_not_finite_stops_with_a_line(capsys):
    _, history = diverging(progress="table")
    assert len(history) == 1
    assert not math.isfinite(history[0].train_loss)
    line = capsys.readouterr().out.splitlines()[-1]
    for word in ("stopped", "loss", "epoch 1", "learning rate"):
        assert word in line


def test_a_loss_that_is_not_finite_is_recorded_and_told_to_callbacks_in_silence(capsys):
    told = []
    _, history = diverging(callbacks=[lambda _, history: told.append(len(history))])
    assert (len(history), told) == (1, [1])
    assert capsys.readouterr() == ("", "")


# --- what a person sees ----------------------------------------------------------------------------------------------


def shown(capsys, **options) -> tuple[list[str], str]:
    """Lines on the standard output, and the standard error, of a run on kernels that are compiled already."""
    trained(clusters(), validation=0.1)
    capsys.readouterr()
    trained(clusters(), epochs=3, **options)
    out, err = capsys.readouterr()
    return out.splitlines(), err


def test_progress_false_prints_nothing(capsys):
    assert shown(capsys, progress=False, validation=0.1) == ([], "")


def test_progress_table_prints_a_header_and_a_row_an_epoch(capsys):
    lines, err = shown(capsys, progress="table")
    assert err == ""
    assert lines[0].split() == ["epoch", "train", "loss", "accuracy", "samples/s"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3"]
    assert all(len(line.split()) == 4 for line in lines[1:])


def test_the_table_shows_validation_where_there_is_one(capsys):
    lines, _ = shown(capsys, progress="table", validation=0.1)
    assert "validation loss" in lines[0]
    assert all(len(line.split()) == 6 for line in lines[1:])


def test_the_table_shows_what_the_history_holds(capsys):
    trained(clusters())
    capsys.readouterr()
    _, history = trained(clusters(), progress="table", validation=0.1)
    for line, epoch in zip(capsys.readouterr().out.splitlines()[1:], history.epochs, strict=True):
        number, loss, accuracy, held_loss, held_accuracy, speed = line.split()
        assert int(number) == epoch.epoch
        assert (loss, held_loss) == (f"{epoch.train_loss:.4f}", f"{epoch.validation_loss:.4f}")
        assert (accuracy, held_accuracy) == (f"{epoch.train_accuracy:.2%}", f"{epoch.validation_accuracy:.2%}")
        assert int(speed.replace(",", "")) == round(epoch.samples_per_second)


def test_progress_true_prints_the_same_table_where_no_terminal_shows_a_bar(capsys):
    lines, err = shown(capsys, progress=True)
    assert err == ""
    assert len(lines) == 4


def test_an_epoch_knows_its_speed():
    _, history = trained(clusters(), validation=100)
    for epoch in history.epochs:
        assert epoch.seconds > 0
        assert epoch.samples_per_second * epoch.seconds == pytest.approx(200, rel=1e-9)  # two roundings of float64


# --- what fit leaves as it was ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [True, False])
def test_fit_restores_the_mode(training):
    model, _ = trained(clusters(), mlp(dropout=0.5, batch_norm=True).train(training), validation=0.1)
    assert {module.training for module in model.modules()} == {training}


def test_the_arrays_stay_the_same_objects():
    model = mlp(batch_norm=True)
    before = {name: id(array) for name, array in model.state_dict().items()}
    parameters = [id(p) for p in model.parameters()]
    trained(clusters(), model, validation=0.1)
    assert {name: id(array) for name, array in model.state_dict().items()} == before
    assert [id(p) for p in model.parameters()] == parameters


def test_a_view_that_was_taken_before_sees_the_training():
    model = mlp()
    view, before = model[0].weight.data[3:5], model[0].weight.data[3:5].copy()
    trained(clusters(), model)
    assert (view != before).any()
    np.testing.assert_array_equal(view, model[0].weight.data[3:5])


def test_fit_leaves_no_gradients():
    model, _ = trained(clusters())
    assert all(p.grad is None for p in model.parameters())


def test_a_gradient_from_before_is_not_trained_with():
    model = mlp()
    for p in model.parameters():
        p.grad = np.full(p.shape, 100, np.float32)
    assert bits(trained(clusters(), model)[0]) == bits(trained(clusters())[0])
    assert all(p.grad is None for p in model.parameters())


def test_an_optimizer_of_some_parameters_leaves_the_others():
    model = mlp()
    before = copied(model)
    trained(clusters(), model, optimizer=optim.Adam(model[2].parameters(), lr=0.1))
    after = model.state_dict()
    np.testing.assert_array_equal(after["0.weight"], before["0.weight"])
    np.testing.assert_array_equal(after["0.bias"], before["0.bias"])
    assert (after["2.weight"] != before["2.weight"]).any()


def test_a_parameter_without_requires_grad_stays():
    model = mlp()
    before = copied(model)
    model[0].weight.requires_grad = False
    trained(clusters(), model)
    np.testing.assert_array_equal(model[0].weight.data, before["0.weight"])
    assert (model[0].bias.data != before["0.bias"]).any()


def test_parameter_groups_have_their_own_learning_rate():
    model = mlp()
    before = copied(model)
    groups = [{"params": list(model[0].parameters()), "lr": 0.0}, {"params": list(model[2].parameters())}]
    trained(clusters(), model, optimizer=optim.SGD(groups, lr=0.1))
    np.testing.assert_array_equal(model[0].weight.data, before["0.weight"])
    assert (model[2].weight.data != before["2.weight"]).any()


def test_an_optimizer_goes_on_where_it_was():
    """Two runs with one optimizer are the loop by hand twice: moments and the step count are kept."""
    data, model, twin = clusters(70), mlp(), mlp()
    optimizer, twin_optimizer = optim.Adam(model.parameters()), optim.Adam(twin.parameters())
    for call in range(2):
        trained(data, model, optimizer=optimizer, batch_size=35)
        by_hand(twin, data, twin_optimizer, [35, 35], start=2 * call)
    assert bits(model) == bits(twin)
    assert {state["step"] for state in optimizer.state.values()} == {8}


def test_the_graph_goes_on_where_fit_stopped():
    """After fit, a step by hand uses the moments that fit left."""
    data, model, twin = clusters(70), mlp(), mlp()
    pairs = [(net, optim.Adam(net.parameters())) for net in (model, twin)]
    trained(data, model, optimizer=pairs[0][1], batch_size=35)
    by_hand(twin, data, pairs[1][1], [35, 35])
    for net, optimizer in pairs:
        by_hand(net, data, optimizer, [70], epochs=1, seed=1)
    assert bits(model) == bits(twin)


def test_the_history_says_on_what_each_epoch_ran():
    assert trained(clusters())[1].column("ran_on") == ["engine"] * 2
    assert trained(clusters(), Own())[1].column("ran_on") == ["graph"] * 2
