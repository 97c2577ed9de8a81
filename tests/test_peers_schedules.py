"""Every schedule in a loop of one's own, beside PyTorch's: rates, momentum, what a hand or another schedule changes."""

import contract
import numpy as np
import pytest

import fastmlp as fm

torch = pytest.importorskip(
    "torch", reason="PyTorch is not installed; `make test-peers` installs it and runs this file"
)
from test_peers_contract import peer_schedule  # noqa: E402

LONG, TOTAL = 60, 61  # steps made, and of a schedule whose length is left out
# PyTorch multiplies the last rate each time: LONG roundings of 1e-16, and near the foot of a cosine, where 1 + cos is
# small, as many as 1 / (1 + cos) times that.
SAME = {"rel": 1e-12, "abs": 1e-15}
every_schedule = pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.OF_DONE))


def rules(name="sgd"):
    """A rule with two groups here, and the same in PyTorch."""
    ours = [fm.Parameter(np.ones(2)), fm.Parameter(np.ones(3))]
    theirs = [torch.ones(2, requires_grad=True), torch.ones(3, requires_grad=True)]
    entry = contract.RULES[name]
    options = dict(entry.options["plain"]) | {"lr": 0.1}
    kind, peer = fm.optim.RULES[name], getattr(torch.optim, fm.optim.RULES[name].__name__)
    return (kind([{"params": [ours[0]]}, {"params": [ours[1]], "lr": 0.02}], **options),
            peer([{"params": [theirs[0]]}, {"params": [theirs[1]], "lr": 0.02}], **options))  # fmt: skip


def made(name, chosen, optimizer, parts_too=True):
    """The schedule with an optimizer, as its parts are or not."""
    return contract.with_optimizer(name, chosen, optimizer, TOTAL, parts_too)


def assert_same(ours, theirs, at):
    for group, other in zip(ours.param_groups, theirs.param_groups, strict=True):
        assert group["lr"] == pytest.approx(other["lr"], **SAME), at
        for option in ("betas", "momentum"):
            if option in group:
                assert group[option] == pytest.approx(other[option], **SAME), at


def loop(pairs, ours, theirs, hands=()):
    """LONG steps of all schedules of both optimizers; before some, a hand sets a rate."""
    for done in range(LONG):
        assert_same(ours, theirs, done)
        if done in hands:
            for optimizer in (ours, theirs):
                optimizer.param_groups[0]["lr"] = 0.3 / (1 + done)
        theirs.step()
        for mine, peer in pairs:
            mine.step(), peer.step()
            assert mine.get_last_lr() == pytest.approx(peer.get_last_lr(), **SAME)
            assert mine.last_epoch == peer.last_epoch == done + 1


@every_schedule
@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_a_loop_has_the_rates_of_the_peer(name, chosen, rule):
    ours, theirs = rules(rule)
    loop([(made(name, chosen, ours), peer_schedule(name, chosen, theirs, TOTAL))], ours, theirs)


@every_schedule
@pytest.mark.parametrize("hands", [(0,), (7, 8, 30)])
def test_a_rate_set_by_hand_is_gone_on_with_as_the_peer_does(name, chosen, hands):
    ours, theirs = rules()
    loop([(made(name, chosen, ours), peer_schedule(name, chosen, theirs, TOTAL))], ours, theirs, hands)


PAIRS = [
    (("StepLR", "plain"), ("CosineAnnealingLR", "floor")),
    (("CosineAnnealingLR", "plain"), ("MultiStepLR", "slower")),
    (("LinearLR", "plain"), ("CosineAnnealingLR", "short")),
    (("ExponentialLR", "slow"), ("LinearLR", "down")),
]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_two_schedules_of_one_optimizer_multiply_each_other(pair):
    ours, theirs = rules()
    loop([(made(*one, ours), peer_schedule(*one, theirs, TOTAL)) for one in pair], ours, theirs)


def test_each_group_has_the_peak_and_the_momentum_of_the_peers():
    ours, theirs = rules("adam")
    options = {"max_lr": [0.4, 0.1], "total_steps": TOTAL, "base_momentum": [0.8, 0.7], "max_momentum": [0.9, 0.95]}
    peer = torch.optim.lr_scheduler.OneCycleLR(theirs, **options)
    loop([(fm.optim.OneCycleLR(ours, **options), peer)], ours, theirs)


@pytest.mark.parametrize("chosen", contract.SCHEDULES["SequentialLR"].options)
def test_parts_may_lack_the_optimizer(chosen):
    ours, theirs = rules()
    pair = made("SequentialLR", chosen, ours, parts_too=False), peer_schedule("SequentialLR", chosen, theirs, TOTAL)
    loop([pair], ours, theirs, hands=(2, 9, 20))


@pytest.mark.parametrize(("name", "chosen"), contract.cases(contract.WATCHING))
@pytest.mark.parametrize("metrics", ["noise", "falling", "with gaps"])
def test_what_watches_reduces_where_the_peer_does(name, chosen, metrics):
    seen = np.random.default_rng(1).uniform(0.9, 1.1, LONG) * np.linspace(1, 0.5 if metrics == "falling" else 1, LONG)
    if metrics == "with gaps":
        seen[[0, 9, 10]] = np.nan, np.inf, -3
    ours, theirs = rules()
    mine, peer = made(name, chosen, ours), peer_schedule(name, chosen, theirs, TOTAL)
    for at, metric in enumerate(seen):
        theirs.step()
        mine.step(metric), peer.step(metric)
        assert_same(ours, theirs, at)
        for own in ("best", "num_bad_epochs", "cooldown_counter", "last_epoch"):
            assert getattr(mine, own) == getattr(peer, own)
