"""Where do gradients vanish or explode, and how exact is the check of a gradient by differences?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import nn, ops
from ..data import mnist
from ..graph import Array, Tensor, no_grad
from .gradients_figures import draw_check, draw_depth

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ACTIVATIONS = ("relu", "tanh", "sigmoid")
SLOPES = {"relu": math.sqrt(0.5), "tanh": 1.0, "sigmoid": 0.25}  # rms of σ'(z): half of ReLU's are 1; at 0 for others
INITS = ("default", "xavier", "he", "small", "large", "sigmoid")
TITLES = {"default": "PyTorch's default", "xavier": "Xavier", "he": "He", "small": "He / 10", "large": "2 × He"}
TITLES |= {"sigmoid": "4 × Xavier"}
DEPTHS = (1, 2, 5, 10, 20, 30)  # hidden layers
WIDTH, ROWS, NETS = 64, 128, 3  # NETS: drawn anew, their geometric mean counts
HEALTHY = 100.0  # a first layer whose gradient is within this factor of the last one's still learns
FORMATS: dict[str, Any] = {"float64": np.float64, "float32": np.float32}
STEPS = {  # h of the differences, four a decade
    "float64": 10.0 ** (np.arange(-48, 1) / 4),
    "float32": 10.0 ** (np.arange(-28, 1) / 4),
}
DIRECTIONS = 40
TITLE = "Where do gradients vanish or explode, and how exact is a gradient check?"


def measure(seed: int = 0) -> dict[str, Any]:
    """Numbers, and under "series" the arrays that the figures show."""
    numbers: dict[str, float] = {}
    series: dict[str, Any] = {"depth": {}, "check": {}}
    data, _ = mnist()
    rows = np.random.default_rng(seed).permutation(len(data))[:ROWS]
    x, labels = data.rows[rows] / 255, data.labels[rows]
    for activation in ACTIVATIONS:
        for init in INITS:
            found = np.array([ratios(activation, init, depth, x, labels, seed) for depth in DEPTHS])
            series["depth"][activation, init] = found[:, 0]
            key = f"{activation}_{init}"
            for depth in (2, 10, 30):
                numbers[f"{key}_{depth}"] = float(found[DEPTHS.index(depth), 0])
                numbers[f"{key}_weight_{depth}"] = float(found[DEPTHS.index(depth), 1])
            numbers[f"{key}_a_layer"] = float((found[-1, 0] / found[DEPTHS.index(10), 0]) ** (1 / 20))
            numbers[f"{key}_a_layer_linear"] = linear_factor(activation, init)
    _check_the_check(seed, numbers, series)
    return {**numbers, "series": series}


def deviation(init: str, fan_in: int, fan_out: int) -> float:
    """Standard deviation of the weights at the start.

    default U(±1/√in); xavier √(2 / (in + out)), Glorot, Bengio, AISTATS 2010; he √(2 / in), He et al., ICCV 2015;
    small a tenth of he's, large twice he's; sigmoid 4 times xavier's, as σ has a quarter of tanh's slope (Glorot
    and Bengio). Error: ValueError for another name.
    """
    he = math.sqrt(2 / fan_in)
    known = {"default": 1 / math.sqrt(3 * fan_in), "xavier": math.sqrt(2 / (fan_in + fan_out))}
    known |= {"he": he, "small": he / 10, "large": 2 * he, "sigmoid": 4 * known["xavier"]}
    if init not in known:
        raise ValueError(f"deviation: init is {init!r}; it must be one of {', '.join(known)}")
    return known[init]


def linear_factor(activation: str, init: str) -> float:
    """√width · std(w) · rms(σ'): a layer multiplies the rms of a gradient by it, where σ is linear."""
    return math.sqrt(WIDTH) * deviation(init, WIDTH, WIDTH) * SLOPES[activation]


def make_net(activation: str, init: str, depth: int, features: int, classes: int) -> nn.MLP:
    """A float64 net of `depth` hidden layers. Biases are 0, but with the default, which draws them as the weights."""
    net = nn.MLP(features, (WIDTH,) * depth, classes, activation).double()
    for layer in net:
        if isinstance(layer, nn.Linear) and init != "default":
            assert layer.bias is not None
            rng = nn.generator()
            std = deviation(init, layer.in_features, layer.out_features)
            layer.weight.data[...] = rng.normal(0, std, layer.weight.shape)
            layer.bias.data[...] = 0
    return net


def ratios(activation: str, init: str, depth: int, x: Array, labels: Array, seed: int) -> tuple[float, float]:
    """rms of d loss / d z of the first layer over that of the last, z = x wᵀ + b; the same of d loss / d w."""
    logs = []
    for draw_number in range(NETS):
        nn.manual_seed(seed * NETS + draw_number)
        net, outputs = make_net(activation, init, depth, x.shape[1], 10), []
        value = Tensor(x)
        for layer in net:
            value = layer(value)
            if isinstance(layer, nn.Linear):
                value.retain_grad()
                outputs.append(value)
        ops.cross_entropy(value, labels).backward()
        weights = [layer.weight for layer in net if isinstance(layer, nn.Linear)]
        with np.errstate(divide="ignore"):
            logs.append([np.log(_rms(t[0].grad) / _rms(t[-1].grad)) for t in (outputs, weights)])
    signal, weight = np.exp(np.mean(logs, axis=0))
    return float(signal), float(weight)


def _rms(array: Array | None) -> Any:
    assert array is not None
    return np.sqrt(np.mean(np.square(array)))


def _check_the_check(seed: int, numbers: dict[str, float], series: dict[str, Any]) -> None:
    """Relative error of a central difference of the loss, against backward in float64, by step h and by format."""
    nn.manual_seed(seed)
    net = nn.MLP(8, (16,), 4, "tanh")
    start = {name: p.data.astype(np.float64) for name, p in net.named_parameters()}
    rng = np.random.default_rng(seed)
    x, labels = rng.normal(size=(20, 8)).astype(np.float32), rng.integers(0, 4, 20)
    directions = [
        {name: rng.standard_normal(p.shape) * _rms(p).item() for name, p in start.items()} for _ in range(DIRECTIONS)
    ]
    exact = _slopes(net.double(), x.astype(np.float64), labels, directions)
    for word, dtype in FORMATS.items():
        net = net.double() if word == "float64" else net.float()
        given, errors = x.astype(dtype), []
        for h in STEPS[word]:
            found = []
            for direction in directions:
                ends = []
                for sign in (1, -1):
                    for name, p in net.named_parameters():
                        p.data = (start[name] + sign * h * direction[name]).astype(dtype)
                    with no_grad():
                        ends.append(ops.cross_entropy(net(Tensor(given)), labels).item())
                found.append((ends[0] - ends[1]) / (2 * h))
            errors.append(np.median(np.abs(np.array(found) - exact) / np.abs(exact)))
        for name, p in net.named_parameters():
            p.data = start[name].astype(dtype)
        curve = np.array(errors)
        _describe(word, STEPS[word], curve, float(np.finfo(dtype).eps), numbers)
        if word == "float32":  # float64 is what it is compared with
            backward = np.abs(_slopes(net, given, labels, directions) - exact) / np.abs(exact)
            numbers["float32_backward_error"] = float(np.median(backward))
        series["check"][word] = curve


def _slopes(net: nn.Module, x: Array, labels: Array, directions: list[dict[str, Array]]) -> Array:
    """Σ g d of each direction, g as backward gives it."""
    net.zero_grad()
    ops.cross_entropy(net(Tensor(x)), labels).backward()
    named = list(net.named_parameters())
    return np.array([sum(float((p.grad * d[name]).sum()) for name, p in named) for d in directions])


def _describe(word: str, steps: Array, errors: Array, eps: float, numbers: dict[str, float]) -> None:
    """The best h and error, and the slopes of log(error) over log(h) on the two sides."""
    best = int(np.argmin(errors))
    numbers[f"{word}_best_h"], numbers[f"{word}_best_error"] = float(steps[best]), float(errors[best])
    numbers[f"{word}_cube_root"] = eps ** (1 / 3)
    right = (steps > 5 * steps[best]) & (steps < 0.2)  # beyond, higher powers of h count too
    left = (steps < steps[best] / 5) & (errors < 0.1)  # where the difference is not yet all rounding
    for side, where in (("right", right), ("left", left)):
        slope = np.polyfit(np.log(steps[where]), np.log(errors[where]), 1)[0] if where.sum() > 1 else math.nan
        numbers[f"{word}_{side}_slope"] = float(slope)


def conclude(numbers: dict[str, float]) -> tuple[str, ...]:
    """Three sentences: where gradients arrive; what that is by the equations; the gradient check."""
    return _about_depth(numbers), _about_factors(numbers), _about_check(numbers)


def _about_depth(n: dict[str, float]) -> str:
    arrives: list[str] = []
    vanishes: list[str] = []
    explodes: list[str] = []
    lost: list[str] = []
    for activation in ACTIVATIONS:
        for init in INITS:
            ratio = n[f"{activation}_{init}_30"]
            place = vanishes if ratio < 1 / HEALTHY else explodes if ratio > HEALTHY else arrives
            place = lost if math.isnan(ratio) else place
            place.append(f"{activation} with {TITLES[init]}")
    said = f"Through 30 hidden layers the gradient keeps its size to a factor of {HEALTHY:g} in {len(arrives)} of "
    said += f"{len(ACTIVATIONS) * len(INITS)} nets"
    said += f" ({', '.join(arrives)})" if arrives else ""
    said += f"; it vanishes in {len(vanishes)} and explodes in {len(explodes)}"
    said += f" ({', '.join(explodes)})" if explodes else ""
    said += f"; in {len(lost)} it is no number ({', '.join(lost)})." if lost else "."
    sigmoid = {init: n[f"sigmoid_{init}_30"] for init in INITS}
    if any(not ratio < 1 / HEALTHY for ratio in sigmoid.values()):
        return said
    best = max(sigmoid, key=lambda init: sigmoid[init])
    said += " With sigmoid it vanishes for each of these initialisations, least with "
    return f"{said}{TITLES[best]} ({sigmoid[best]:.0e})."


def _about_factors(n: dict[str, float]) -> str:
    factors = {i: n[f"relu_{i}_a_layer"] / n[f"relu_{i}_a_layer_linear"] for i in INITS}
    lost = [TITLES[i] for i, factor in factors.items() if not 0 < factor < math.inf]
    said = f"A ReLU layer multiplies it by {n['relu_he_a_layer']:.2f} with He's weights and by "
    said += f"{n['relu_default_a_layer']:.2f} with PyTorch's default, where √(width · variance / 2) is "
    said += f"{n['relu_he_a_layer_linear']:.2f} and {n['relu_default_a_layer_linear']:.2f}: "
    if lost:
        return said + f"there is no such number with {', '.join(lost)}."
    worst = max(abs(math.log(factor)) for factor in factors.values())
    if worst < 0.15:
        return said + "the equation explains every ReLU net here, to 15 %."
    return said + f"the equation misses a ReLU net by a factor of {math.exp(worst):.2f} a layer."


def _about_check(n: dict[str, float]) -> str:
    parts = [
        f"in {word} at h = {n[f'{word}_best_h']:.1e} (∛eps is {n[f'{word}_cube_root']:.1e}), "
        f"with an error of {n[f'{word}_best_error']:.0e}"
        for word in FORMATS
    ]
    said = f"A central difference is most exact {' and '.join(parts)}: "
    right, left = n["float64_right_slope"], n["float64_left_slope"]
    said += f"above, the error grows as h to the power {right:.2f}, below as h to the power {left:.2f}, in float64"
    if all(abs(n[f"{w}_right_slope"] - 2) < 0.2 and abs(n[f"{w}_left_slope"] + 1) < 0.2 for w in FORMATS):
        said += ": the cut-off term h² against rounding, eps / h, and in float32 as well; "
    else:
        said += "; not in both formats is this the h² and eps / h of a smooth function; "
    if n["float32_best_error"] > n["float32_backward_error"]:
        worse = n["float32_best_error"] / n["float32_backward_error"]
        return said + f"in float32 it is {worse:,.0f} times less exact than the backward pass it would check."
    return said + "in float32 it is as exact as the backward pass it checks."


def table(numbers: dict[str, float]) -> str:
    """A line a net, then a line a number format."""
    lines = [
        f"{'':30}{'gradient, first / last layer':^36}{'a layer multiplies by':>24}",
        f"{'activation, initialisation':30}{'2 hidden':>12}{'10 hidden':>12}{'30 hidden':>12}"
        f"{'measured':>12}{'linear':>12}",
    ]
    for activation in ACTIVATIONS:
        for init in INITS:
            key = f"{activation}_{init}"
            cells = "".join(f"{numbers[f'{key}_{depth}']:12.1e}" for depth in (2, 10, 30))
            factors = f"{numbers[f'{key}_a_layer']:12.3f}{numbers[f'{key}_a_layer_linear']:12.3f}"
            lines.append(f"{activation + ', ' + TITLES[init]:30}{cells}{factors}")
    lines += [
        "",
        f"gradient: rms of d loss / d z, z = x wᵀ + b, width {WIDTH}, {ROWS} digits, mean of {NETS} nets. Linear:",
        "√width · std(w) · rms(σ'), σ' of tanh and sigmoid taken at 0, where it is largest.",
        "",
        f"{'central difference':20}{'best h':>12}{'∛eps':>12}{'error':>12}{'slope left':>12}{'right':>12}",
    ]
    for word in FORMATS:
        keys = ("best_h", "cube_root", "best_error", "left_slope", "right_slope")
        values = [numbers[f"{word}_{key}"] for key in keys]
        lines.append(
            f"{word:20}" + "".join(f"{v:12.2f}" if 3 <= i <= 4 else f"{v:12.1e}" for i, v in enumerate(values))
        )
    lines += ["", f"backward in float32: error {numbers['float32_backward_error']:.1e}"]
    return "\n".join(lines)


def tolerance(name: str, value: float) -> float:
    """How far another machine may be: float64 nets repeat to many digits, rounding errors only in their size."""
    if name.endswith(("_linear", "_cube_root")):
        return 0.0
    if name.endswith("_slope"):
        return 0.1
    if name.startswith("float"):
        return 2.2 * value if name.endswith("_h") else abs(value)
    return 1e-6 * abs(value)


def draw(measured: dict[str, Any]) -> dict[str, Figure]:
    """Two figures: gradients by depth, and the error of the check by step."""
    return {
        "gradients_depth": draw_depth(measured["series"], TITLES, DEPTHS),
        "gradients_check": draw_check(measured, STEPS),
    }
