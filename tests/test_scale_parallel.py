"""`fit_parallel`: the same bits on any number of ranks and threads, and what happens when one of them fails.

Most ranks here are threads of this process, whose messages take their time; what hangs on MPI runs by `mpiexec`.
"""

import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_ranks import on_ranks
from hypothesis import given, settings
from hypothesis import strategies as st
from parallel_cases import CASES, classes, digest, digests, ended, gone_on, launched, local, output_of, trained

import fastmlp as fm
from fastmlp.scale import blocks as runner
from fastmlp.scale import sums, tree
from fastmlp.scale.ranks import Alone, Ranks

PROGRAM = Path(__file__).parent / "parallel_cases.py"


# --- the tree --------------------------------------------------------------------------------------------------------


def summed(node, values):
    """The sum of a node as the definition has it."""
    if node[1] - node[0] == 1:
        return values[node[0]]
    left, right = tree.halves(node)
    return summed(left, values) + summed(right, values)


@given(st.integers(1, 70), st.integers(1, 70))
@settings(deadline=None, max_examples=150)
def test_each_rank_gets_the_sum_of_the_tree_once(blocks, size):
    """Played by hand: the sums across ranks, then the way back; what a rank adds is there at that time."""
    t = tree.Tree(blocks, size)
    assert [b for r in range(size) for b in t.blocks_of(r)] == list(range(blocks))
    assert all(t.owner(b) == r for r in range(size) for b in t.blocks_of(r))
    values = np.random.default_rng(0).normal(size=blocks).astype(np.float32)
    assert t.pieces < 2 * len(t.active)
    for piece in {0, t.pieces - 1, t.pieces // 3}:
        have = {(r, top): summed(top, values) for r in range(size) for top in t.tops(r)}
        for up in t.ups(piece):
            assert up.at in (up.left_at, up.right_at)
            have[up.at, up.node] = have[up.left_at, up.left] + have[up.right_at, up.right]
        root = t.place(t.root, piece)
        assert have[root, t.root] == summed(t.root, values)
        there = {root}
        for source, target in t.downs(piece):
            assert source in there
            assert target not in there
            there.add(target)
        assert there == set(range(size))


def test_the_pieces_of_a_sum_lie_with_all_ranks_evenly():
    """Of a power of two of ranks each makes as much: recursive halving."""
    t = tree.Tree(32, 8)
    assert sorted(t.place(t.root, piece) for piece in range(t.pieces)) == list(range(8))
    work = [sum(up.at == r for piece in range(8) for up in t.ups(piece)) for r in range(8)]
    assert work == [7] * 8  # 8 pieces, 7 sums each, over 8 ranks


@given(st.integers(1, 300), st.integers(1, 40), st.integers(1, 3))
def test_blocks_are_a_function_of_rows_and_blocks(rows, blocks, least):
    edges = tree.bounds_of(rows, blocks, least)
    sizes = np.diff(edges)
    assert edges[0] == 0
    assert edges[-1] == rows
    assert len(sizes) <= blocks
    assert sizes.min() >= min(least, rows)
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.parametrize(("blocks", "size"), [(8, 1), (8, 2), (8, 3), (8, 8), (5, 4), (2, 4), (1, 3)])
def test_messages_make_the_sum_of_the_tree(blocks, size):
    """Arrays large enough to go in pieces, and small ones; two sums at once."""
    draw = np.random.default_rng(blocks)
    large, small = draw.normal(size=(blocks, 40_000)).astype(np.float32), draw.normal(size=(blocks, 3))
    t = tree.Tree(blocks, size)

    def work(comm):
        own, found = Ranks(comm), []
        for channel, values in ((1, large), (2, small)):
            one = sums.Sum([values[0, :2].shape, values[0, 2:].shape], values.dtype, channel)
            for _ in range(2):  # arrays of a step before are used again
                one.begin(t, own.rank)
                for block in reversed(t.blocks_of(own.rank)):
                    one.put(block, [values[block, :2], values[block, 2:]])
                one.go_on(own)
                own.finish()
                found.append(np.concatenate(one.parts))
        return found

    for found in on_ranks(size, work):
        for values, result in zip((large, large, small, small), found, strict=True):
            assert (result == summed((0, blocks), values)).all()


# --- trainings -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one_rank():
    """What the cases come to on one rank of one thread."""
    return digests(Alone())


@pytest.mark.parametrize("size", [3, 4])
def test_bits_on_ranks_that_are_threads(one_rank, size):
    for found in on_ranks(size, digests):
        assert found == one_rank


def test_bits_on_threads(one_rank):
    assert one_rank["two threads"] == one_rank["plain"]
    more = digest(*trained("batch norm and dropout", Alone(), n_threads=2))
    assert more == one_rank["batch norm and dropout"]


def test_agrees_with_fit_to_rounding():
    """The same rows in the same order; sums of 32 rows in another order differ by some 1e-7 of their size a step."""
    for case in ("plain", "weights of rows", "five blocks"):
        model, history = trained(case, Alone())
        options = {"epochs": 3, "batch_size": 32, "progress": False} | CASES[case]
        data = options.pop("data", classes)()
        for name in ("blocks", "n_threads"):
            options.pop(name, None)
        fm.manual_seed(3)
        twin = fm.nn.MLP(data.n_features, (9, 6), data.n_outputs)
        rule = options.pop("optimizer", fm.optim.Adam)(twin.parameters(), lr=0.01)
        loss = options.pop("loss", lambda: None)()
        theirs = fm.fit(twin, data, optimizer=rule, loss=loss, **options)
        for name, array in model.state_dict().items():
            assert np.abs(array - twin.state_dict()[name]).max() < 2e-4, (case, name)  # Adam divides by small numbers
        for name in ("train_loss", "validation_loss", "train_score"):
            assert np.allclose(history.column(name), theirs.column(name), rtol=1e-4, equal_nan=True), (case, name)


def test_a_sum_in_the_order_of_ranks_is_seen(one_rank, monkeypatch):
    """The planted fault: a rank adds its blocks one by one, and ranks add what they have."""

    def by_rank(node):
        lo, hi = node
        middle = 4 if lo < 4 < hi else hi - 1
        return (lo, middle), (middle, hi)

    for module in (tree, sums):
        monkeypatch.setattr(module, "halves", by_rank)
    monkeypatch.setattr(runner, "tree_of", tree.Tree)
    two = on_ranks(2, lambda comm: digest(*trained("plain", comm)))
    assert two[0] == two[1] != one_rank["plain"]


def test_a_mask_by_rank_is_seen(one_rank, monkeypatch):
    monkeypatch.setattr(runner, "mask_layer", lambda layer, block: layer + ((block % 4) << 32))
    two = on_ranks(2, lambda comm: digest(*trained("batch norm and dropout", comm)))
    assert two[0] == two[1] != one_rank["batch norm and dropout"]


def test_weights_that_come_apart_are_seen(monkeypatch):
    def step(self, *arguments):
        if self.ranks.rank == 1:
            self.trained[0].data.flat[0] += 1
        return taken(self, *arguments)

    taken = runner.Blocks._take
    monkeypatch.setattr(runner.Blocks, "_take", step)
    with pytest.raises(RuntimeError, match="rank 1 has other weights than rank 0"):
        on_ranks(2, lambda comm: trained("plain", comm, epochs=1))


def test_local_steps_are_those_of_one_rank_alone(one_rank):
    """One rank that takes steps alone takes those of all; on two the result is another, and the same each time."""
    assert local(Alone()) == digest(*trained("batch norm and dropout", Alone(), average=None))
    first, again = (on_ranks(2, local) for _ in range(2))
    assert first[0] == first[1] == again[0] != local(Alone())


@pytest.mark.parametrize("steps", [1, 3])
def test_a_loss_that_is_not_finite_ends_all_alike(steps):
    with np.errstate(all="ignore"):
        found = on_ranks(
            2, lambda comm: trained("weights of rows", comm, local_steps=steps, loss=fm.nn.MSELoss, optimizer=Hot)
        )
    (model, history), (other, _) = found
    assert history.ended == "diverged"
    assert all(np.isfinite(array).all() for array in model.state_dict().values())
    assert digest(model, history) == digest(other, history)


class Hot(fm.optim.SGD):
    def __init__(self, params, lr):
        super().__init__(params, lr=1e12)


# --- refused ---------------------------------------------------------------------------------------------------------


def test_arguments_are_refused_in_a_sentence(tmp_path):
    for options, sentence in (
        ({"blocks": 0}, "blocks is 0"),
        ({"local_steps": 1.5}, "local_steps is 1.5"),
        ({"epoch": 3}, "unexpected keyword argument 'epoch'"),
        ({"local_steps": 2, "checkpoint": tmp_path, "checkpoint_every": 3}, "must be 'epoch' or a text"),
    ):
        with pytest.raises((ValueError, TypeError), match=f"fit_parallel: .*{sentence}"):
            trained("plain", Alone(), **options)
    with pytest.raises(ValueError, match="blocks is 8 for 9 ranks"):
        on_ranks(9, lambda comm: trained("plain", comm))


def test_one_rank_that_is_refused_lets_the_others_know():
    found = on_ranks(2, lambda comm: said(lambda: trained("plain", comm, epochs=-1 if comm.Get_rank() else 1)))
    assert found[1] == "fit: epochs is -1; it must be a whole number of at least 0"
    assert found[0] == "fit_parallel: rank 1 was refused, and says why; no training has begun"


@pytest.mark.parametrize(
    ("others", "what"), [({"seed": 1}, "arguments"), ({"data": lambda: classes()[:140]}, "targets")]
)
def test_ranks_must_be_given_the_same(others, what):
    found = on_ranks(2, lambda comm: said(lambda: trained("plain", comm, **(others if comm.Get_rank() else {}))))
    assert set(found) == {f"fit_parallel: rank 1 has other {what} than rank 0; all must be given the same"}


def said(work):
    try:
        work()
    except Exception as error:
        return str(error)
    return ""


def test_without_mpi_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    with pytest.raises(fm.check.NotInstalledError, match=r"fit_parallel: mpi4py and an MPI library are needed"):
        trained("plain", None)


# --- checkpoints -----------------------------------------------------------------------------------------------------


def test_what_two_ranks_began_one_and_three_end(one_rank, tmp_path):
    on_ranks(2, lambda comm: ended(comm, tmp_path / "two"))
    shutil.copytree(tmp_path / "two", tmp_path / "again")
    assert gone_on(Alone(), tmp_path / "two") == one_rank["batch norm and dropout"]
    assert set(on_ranks(3, lambda comm: gone_on(comm, tmp_path / "again"))) == {one_rank["batch norm and dropout"]}


def test_each_kind_of_training_has_its_way_on(tmp_path):
    trained("plain", Alone(), epochs=1, checkpoint=tmp_path / "parallel")
    with pytest.raises(ValueError, match=r"is another kind; scale\.resume_parallel goes on with it"):
        fm.resume(tmp_path / "parallel", classes())
    fm.fit(fm.nn.MLP(12, (3,), 3), classes(), epochs=1, progress=False, checkpoint=tmp_path / "alone")
    with pytest.raises(ValueError, match=r"was one of fit; resume goes on with it"):
        fm.scale.resume_parallel(tmp_path / "alone", classes(), comm=Alone())


# --- by mpiexec ------------------------------------------------------------------------------------------------------


def test_bits_and_checkpoints_by_mpiexec(one_rank, tmp_path):
    """Two and eight processes at once; what two ended within an epoch, one goes on with, and the other way round."""
    ended(Alone(), tmp_path / "one")
    both = [launched(size, PROGRAM, "bits", tmp_path) for size in (2, 8)]
    said = [output_of(process) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    two, eight = (json.loads((tmp_path / f"{size}.json").read_text()) for size in (2, 8))
    assert two.pop("resumed on as many") == one_rank["batch norm and dropout"]
    assert two.pop("local steps") == on_ranks(2, local)[0]
    assert two == one_rank
    assert eight == {case: found for case, found in one_rank.items() if case in eight}
    assert len(eight) >= 5
    assert gone_on(Alone(), tmp_path / "two") == one_rank["batch norm and dropout"]


def test_a_rank_that_ends_takes_the_others_along(tmp_path):
    """Killed, by an error, and by Ctrl-C: a line says who, within seconds, and the last checkpoint goes on."""
    waits = launched(2, PROGRAM, "waits", tmp_path)
    began = [launched(2, PROGRAM, how, tmp_path) for how in ("killed", "raises")]
    texts = [output_of(process) for process in began]
    ends = time.time()
    for how, text, process in zip(("killed", "raises"), texts, began, strict=True):
        assert process.returncode != 0
        assert ends - float((tmp_path / f"{how}.time").read_text()) < 20, text
    assert "fit_parallel: rank 1 of 2 ends all ranks: ValueError: rank 1 has had enough" in texts[1]
    assert "signal 9" in texts[0]
    while not (tmp_path / "waits.time").exists():
        time.sleep(0.05)
        assert waits.poll() is None
    start = time.time()
    os.kill(waits.pid, signal.SIGINT)
    text = output_of(waits)
    assert time.time() - start < 20, text
    for how in ("killed", "raises", "waits"):
        path, saved = fm.training.checkpoint.read_newest(tmp_path / how, "test", print)
        assert saved["epoch"] >= 4, path
        resumed = fm.scale.resume_parallel(
            tmp_path / how, classes(), comm=Alone(), epochs=saved["epoch"] + 1, progress=False, callbacks=[look]
        )
        model, history = trained("plain", Alone(), epochs=saved["epoch"] + 1)
        assert digest(resumed.model, resumed.history) == digest(model, history)


def look(model, history):
    """A callback of the name that those trainings had."""
