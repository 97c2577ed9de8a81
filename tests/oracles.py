"""Slow float64 twins of every kernel, written from the equations. They share no code with fastmlp.

N rows, I inputs, O outputs, C classes. Weights are plain (O, I) arrays; `pack` makes the kernels' layout.
Whole numbers of 64 bits are Python ints, cut with `% 2**64`.
"""

import math

import numpy as np


def f64(array) -> np.ndarray:
    return np.asarray(array, np.float64)


# ---------------------------------------------------------------- linear


def pack(weight, lanes: int) -> np.ndarray:
    """w[block, i, lane] = weight[block * lanes + lane, i], zero where there is no such output."""
    O, I = weight.shape
    w = np.zeros((math.ceil(O / lanes), I, lanes), weight.dtype)
    for o in range(O):
        for i in range(I):
            w[o // lanes, i, o % lanes] = weight[o, i]
    return w


def unpack(w, O: int) -> np.ndarray:
    I, lanes = w.shape[1:]
    return np.array([[w[o // lanes, i, o % lanes] for i in range(I)] for o in range(O)], w.dtype).reshape(O, I)


def product(a, b) -> np.ndarray:
    """c[m, n] = Σ_k a[m, k] b[k, n]."""
    return np.einsum("mk,kn->mn", f64(a), f64(b))


def linear(x, weight, bias) -> np.ndarray:
    return product(x, f64(weight).T) + f64(bias)


def linear_backward(dy, x, weight) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dweight, dbias)."""
    return product(dy, weight), product(f64(dy).T, x), f64(dy).sum(axis=0)


# ---------------------------------------------------------------- activations


def relu(x) -> np.ndarray:
    x = f64(x)
    return np.where(x <= 0, 0.0, x)


def relu_backward(dy, y) -> np.ndarray:
    return np.where(f64(y) <= 0, 0.0, f64(dy))


def leaky_relu(x, slope: float) -> np.ndarray:
    x = f64(x)
    return np.where(x > 0, x, slope * x)


def leaky_relu_backward(dy, x, slope: float) -> np.ndarray:
    """At 0 the slope of the left side."""
    return f64(dy) * np.where(f64(x) > 0, 1.0, slope)


def prelu(x, slopes) -> np.ndarray:
    """slopes: (C,), or (1,) for all columns."""
    x = f64(x)
    return np.where(x > 0, x, f64(slopes) * x)


def prelu_backward(dy, x, slopes) -> tuple[np.ndarray, np.ndarray]:
    """(dx, dslopes); at 0 the slope of the left side. A slope that all columns share gets the sum over them."""
    dy, x = f64(dy), f64(x)
    each = np.where(x > 0, 0.0, dy * x).sum(axis=0)
    return dy * np.where(x > 0, 1.0, f64(slopes)), each if np.size(slopes) > 1 else each.sum().reshape(np.shape(slopes))


def tanh(x) -> np.ndarray:
    return np.tanh(f64(x))


def tanh_backward(dy, y) -> np.ndarray:
    return f64(dy) * (1 - f64(y) ** 2)


def sigmoid(x) -> np.ndarray:
    """1 / (1 + e⁻ˣ) = (1 + tanh(x/2)) / 2; for x < 0 as eˣ / (1 + eˣ), which keeps the digits of small results."""
    x = f64(x)
    with np.errstate(over="ignore"):
        return np.where(x < 0, np.exp(np.minimum(x, 0)) / (1 + np.exp(np.minimum(x, 0))), 1 / (1 + np.exp(-x)))


def sigmoid_backward(dy, y) -> np.ndarray:
    return f64(dy) * f64(y) * (1 - f64(y))


def silu(x) -> np.ndarray:
    return f64(x) * sigmoid(x)


def silu_backward(dy, x) -> np.ndarray:
    """1 - σ(x) = σ(-x)."""
    return f64(dy) * sigmoid(x) * (1 + f64(x) * sigmoid(-f64(x)))


def log_1_plus_power(x) -> np.ndarray:
    """log(1 + eˣ); NaN of NaN without a warning."""
    with np.errstate(invalid="ignore"):
        return np.logaddexp(0, f64(x))


def mish(x) -> np.ndarray:
    return f64(x) * np.tanh(log_1_plus_power(x))


def mish_backward(dy, x) -> np.ndarray:
    """1 - tanh² = 1 / cosh²."""
    x = f64(x)
    positive = log_1_plus_power(x)
    with np.errstate(over="ignore"):
        return f64(dy) * (np.tanh(positive) + x * sigmoid(x) / np.cosh(positive) ** 2)


def normal_below(x) -> np.ndarray:
    """Φ(x), the share of the normal distribution below x, with all digits of a small one.

    From 2 on by Laplace's continued fraction, φ(x) / (x + 1 / (x + 2 / (x + 3 / ...))), with x²/2 in more digits than
    float64: an error of an exponent is one of all digits of the power.
    """
    size = np.abs(np.asarray(x, np.longdouble))
    fraction = size
    for k in range(200, 0, -1):
        fraction = size + k / np.where(fraction == 0, 1, fraction)
    density = np.exp(-(size**2) / 2) / np.sqrt(2 * np.arctan(np.longdouble(1)) * 4)
    near = np.vectorize(math.erfc, otypes=[float])(f64(size) / math.sqrt(2)) / 2
    beyond = np.where(size < 2, near, density / fraction)
    return f64(np.where(f64(x) < 0, beyond, 1 - beyond))


def gelu_gate(x, approximate: str) -> tuple[np.ndarray, np.ndarray]:
    """(Φ(x), x Φ'(x)); with tanh by the rules for products and chains. (1 + tanh u) / 2 = σ(2u)."""
    x = f64(x)
    if approximate == "none":
        wide = np.asarray(x, np.longdouble)
        return normal_below(x), f64(wide * np.exp(-(wide**2) / 2) / math.sqrt(2 * math.pi))
    u, slope = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3), math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
    return sigmoid(2 * u), x * 2 * slope * sigmoid(2 * u) * sigmoid(-2 * u)


def gelu(x, approximate: str = "none") -> np.ndarray:
    return f64(x) * gelu_gate(x, approximate)[0]


def gelu_backward(dy, x, approximate: str = "none") -> np.ndarray:
    return f64(dy) * sum(gelu_gate(x, approximate))


def elu(x, alpha: float, scale: float = 1.0) -> np.ndarray:
    x = f64(x)
    return scale * np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def elu_backward(dy, x, alpha: float, scale: float = 1.0) -> np.ndarray:
    """At 0 the slope of the left side."""
    x = f64(x)
    return f64(dy) * scale * np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0)))


def softplus(x, beta: float, threshold: float) -> np.ndarray:
    x = f64(x)
    return np.where(beta * x > threshold, x, log_1_plus_power(beta * x) / beta)


def softplus_backward(dy, x, beta: float, threshold: float) -> np.ndarray:
    return f64(dy) * np.where(beta * f64(x) > threshold, 1.0, sigmoid(beta * f64(x)))


def hardtanh(x, least: float, most: float) -> np.ndarray:
    return np.minimum(np.maximum(f64(x), least), most)


def hardtanh_backward(dy, x, least: float, most: float) -> np.ndarray:
    """No gradient passes at the ends; it passes where x is NaN."""
    return np.where((f64(x) <= least) | (f64(x) >= most), 0.0, f64(dy))


# ---------------------------------------------------------------- dropout

WORD = 2**64
GAMMA = 0x9E3779B97F4A7C15


def splitmix64(state: int) -> int:
    """The output for a state, after Steele, Lea and Flood, OOPSLA 2014, figure 17 (Java's SplittableRandom)."""
    z = state % WORD
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % WORD
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % WORD
    return z ^ (z >> 31)


def random_bits(seed: int, step: int, layer: int, row: int, column: int) -> int:
    """Seed, step, layer and row are mixed in one after the other; the column counts along a SplitMix64 stream."""
    key = 0
    for counter in (seed, step, layer, row):
        key = splitmix64(key + counter + GAMMA)
    return splitmix64(key + (column + 1) * GAMMA)


def dropout_mask(shape, p: float, seed: int, step: int, layer: int) -> np.ndarray:
    """True where a number is kept: the upper 32 bits, as a fraction of 2³², are at least p."""
    N, columns = shape
    kept = [
        [random_bits(seed, step, layer, n, o) >> 32 >= math.floor(p * 2**32) for o in range(columns)] for n in range(N)
    ]
    return np.array(kept, bool).reshape(shape)


def dropout(x, p: float, seed: int, step: int, layer: int) -> np.ndarray:
    """Serves both ways: the backward pass is the same map of dy."""
    x = f64(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = np.where(dropout_mask(x.shape, p, seed, step, layer), 1 / np.float64(1 - p), 0.0)
        return x * scale


# ---------------------------------------------------------------- batch norm


def batchnorm(x, gamma, beta, running_mean, running_var, momentum: float, eps: float) -> dict[str, np.ndarray]:
    x, gamma, beta = f64(x), f64(gamma), f64(beta)
    N = len(x)
    mean = x.sum(axis=0) / N
    variance = ((x - mean) ** 2).sum(axis=0) / N
    rstd = 1 / np.sqrt(variance + eps)
    return {
        "mean": mean,
        "rstd": rstd,
        "y": gamma * (x - mean) * rstd + beta,
        "running_mean": (1 - momentum) * f64(running_mean) + momentum * mean,
        "running_var": (1 - momentum) * f64(running_var) + momentum * variance * N / (N - 1),
    }


def batchnorm_backward(dy, x, gamma, mean, rstd) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dgamma, dbeta) by the chain rule of the paper's section 3: through x̂, the variance and the mean."""
    dy, x, gamma, mean, rstd = f64(dy), f64(x), f64(gamma), f64(mean), f64(rstd)
    N = len(x)
    dhat = dy * gamma
    hat = (x - mean) * rstd
    dvariance = (dhat * (x - mean)).sum(axis=0) * -0.5 * rstd**3
    dmean = -(dhat * rstd).sum(axis=0)
    dx = dhat * rstd + dvariance * 2 * (x - mean) / N + dmean / N
    return dx, (dy * hat).sum(axis=0), dy.sum(axis=0)


def batchnorm_eval(x, gamma, beta, running_mean, running_var, eps: float) -> np.ndarray:
    return f64(gamma) * (f64(x) - f64(running_mean)) / np.sqrt(f64(running_var) + eps) + f64(beta)


def batchnorm_eval_backward(dy, x, gamma, running_mean, running_var, eps: float):
    """(dx, dgamma, dbeta)."""
    spread = np.sqrt(f64(running_var) + eps)
    dy, hat = f64(dy), (f64(x) - f64(running_mean)) / spread
    return dy * f64(gamma) / spread, (dy * hat).sum(axis=0), dy.sum(axis=0)


def layernorm(x, gamma, beta, eps: float) -> dict[str, np.ndarray]:
    x = f64(x)
    mean = x.mean(axis=1, keepdims=True)
    rstd = 1 / np.sqrt(((x - mean) ** 2).mean(axis=1, keepdims=True) + eps)
    return {"mean": mean, "rstd": rstd, "y": (x - mean) * rstd * f64(gamma) + f64(beta)}


def layernorm_backward(dy, x, gamma, mean, rstd) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(dx, dgamma, dbeta) by the whole Jacobian of each row: ∂x̂ᵢ/∂xⱼ = rstd (δᵢⱼ - 1/C - x̂ᵢ x̂ⱼ/C)."""
    dy, hat = f64(dy), (f64(x) - mean) * rstd
    C = dy.shape[1]
    jacobian = (np.eye(C) - 1 / C - hat[:, :, None] * hat[:, None, :] / C) * f64(rstd)[:, :, None]
    return np.einsum("ni,nij->nj", dy * f64(gamma), jacobian), (dy * hat).sum(axis=0), dy.sum(axis=0)


# ---------------------------------------------------------------- loss


def log_softmax(z) -> np.ndarray:
    z = f64(z)
    top = z.max(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return z - top - np.log(np.exp(z - top).sum(axis=1, keepdims=True))


def log_softmax_backward(dy, p) -> np.ndarray:
    """p is the softmax: y = log p."""
    dy = f64(dy)
    return dy - f64(p) * dy.sum(axis=1, keepdims=True)


def smoothed(labels, C: int, smoothing: float) -> np.ndarray:
    """q[n, c] = (1 - s) [c = labels[n]] + s / C."""
    q = np.full((len(labels), C), smoothing / C)
    for n, label in enumerate(labels):
        q[n, label] += 1 - smoothing
    return q


def nll_loss(y, labels, r, smoothing: float) -> float:
    """-Σₙ r[n] Σ_c q[n, c] y[n, c]; a class without weight counts nothing, whatever its y."""
    y, q = f64(y), smoothed(labels, y.shape[1], smoothing)
    return -sum(
        float(r[n]) * math.fsum(q[n, c] * y[n, c] for c in range(y.shape[1]) if q[n, c] > 0) for n in range(len(labels))
    )


def nll_loss_backward(dloss: float, labels, r, smoothing: float, C: int) -> np.ndarray:
    return -dloss * f64(r)[:, None] * smoothed(labels, C, smoothing)


def cross_entropy(z, labels, smoothing: float) -> tuple[float, np.ndarray]:
    """(mean loss, dz): the two steps one after the other, and back."""
    y, r = log_softmax(z), np.full(len(labels), 1 / len(labels))
    dy = nll_loss_backward(1.0, labels, r, smoothing, y.shape[1])
    return nll_loss(y, labels, r, smoothing), log_softmax_backward(dy, np.exp(y))


def hits(z, labels) -> np.ndarray:
    """1 for each row whose label has the largest logit, the first of equal ones; NaN counts as the largest."""
    found = []
    for row, label in zip(f64(z).tolist(), labels, strict=True):
        nan = [c for c, value in enumerate(row) if math.isnan(value)]
        found.append(float((nan[0] if nan else row.index(max(row))) == label))
    return np.array(found)


def accuracy(z, labels) -> float:
    """The share of rows that hit."""
    return float(hits(z, labels).mean())


# ---------------------------------------------------------------- schedules


def step_lr(start: float, done: int, step_size: int, gamma: float) -> float:
    """Times gamma after each `step_size` epochs or steps."""
    rate = start
    for t in range(1, done + 1):
        rate = rate * gamma if t % step_size == 0 else rate
    return rate


def multi_step_lr(start: float, done: int, milestones, gamma: float) -> float:
    """Times gamma after each of the milestones."""
    rate = start
    for t in range(done + 1):
        for _ in range(list(milestones).count(t)):
            rate = rate * gamma
    return rate


def exponential_lr(start: float, done: int, gamma: float) -> float:
    """Times gamma after each epoch or step."""
    rate = start
    for _ in range(done):
        rate = rate * gamma
    return rate


def linear_lr(start: float, done: int, start_factor: float, end_factor: float, total_iters: int) -> float:
    """In equal steps from one factor of the rate to the other, and there it stays."""
    return start * float(np.linspace(start_factor, end_factor, total_iters + 1)[min(done, total_iters)])


def one_cycle(first, peak, last, done: int, steps: int, pct_start: float, cosine: bool, three_phase: bool) -> float:
    """Through the corners of the cycle: in a line, or in half a wave of a cosine from one to the next."""
    rise = pct_start * steps - 1
    corners, heights = [0.0, rise, steps - 1.0], [first, peak, last]
    if three_phase:
        corners[2:2], heights = [2 * rise], [first, peak, first, last]
    if rise < 0:  # a cycle of so few steps begins behind its first corner
        corners, heights = corners[1:], heights[1:]
    at = sum(corner < done for corner in corners[1:-1])
    share = (done - corners[at]) / (corners[at + 1] - corners[at])
    share = np.sin(np.pi * share / 2) ** 2 if cosine else share
    return float((1 - share) * heights[at] + share * heights[at + 1])


def reduce_on_plateau(start, metrics, mode, factor, patience, threshold, threshold_mode, cooldown, min_lr, eps):
    """The rate after each metric: PyTorch's documentation, with the metrics turned so that less is better."""
    rate, rates, best, bad, resting = start, [], None, 0, 0
    for metric in metrics:
        margin = threshold * (1 if threshold_mode == "abs" or best is None else best)
        if best is None or (metric < best - margin if mode == "min" else metric > best + margin):
            best, bad = metric, 0
        else:
            bad += 1
        if resting:
            resting, bad = resting - 1, 0
        if bad > patience:
            resting, bad = cooldown, 0
            lower = max(rate * factor, min_lr)
            rate = lower if rate - lower > eps else rate
        rates.append(rate)
    return rates


# ---------------------------------------------------------------- updates


def sgd(p, g, b, lr, momentum, dampening, weight_decay, nesterov) -> tuple[np.ndarray, np.ndarray]:
    """(p, b) after one step of torch.optim.SGD's documented algorithm; b is None before the first."""
    p, g = f64(p), f64(g)
    g = g + weight_decay * p
    if momentum:
        b = g if b is None else momentum * f64(b) + (1 - dampening) * g
        g = g + momentum * b if nesterov else b
    return p - lr * g, b


def adam(p, g, m, v, lr, beta1, beta2, eps, weight_decay, t) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(p, m, v) after step t: Kingma and Ba, ICLR 2015, Algorithm 1, line by line; the decay is added to g."""
    p, g, m, v = f64(p), f64(g), f64(m), f64(v)
    g = g + weight_decay * p if weight_decay else g  # 0 · NaN would pass from p into m
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v


def adamw(p, g, m, v, lr, beta1, beta2, eps, weight_decay, t) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Loshchilov and Hutter, ICLR 2019, Algorithm 2 as in PyTorch: p shrinks by lr λ, apart from Adam's step."""
    stepped, m, v = adam(p, g, m, v, lr, beta1, beta2, eps, 0.0, t)
    return stepped - lr * weight_decay * f64(p), m, v


def amsgrad(p, g, m, v, u, lr, beta1, beta2, eps, weight_decay, t) -> tuple[np.ndarray, ...]:
    """(p, m, v, u) after step t: torch.optim.Adam's documented algorithm with amsgrad; the decay is added to g.

    The maximum is that of v as it is (the paper has no correction of its start at all).
    """
    p, g, m, v, u = f64(p), f64(g), f64(m), f64(v), f64(u)
    g = g + weight_decay * p if weight_decay else g
    m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g**2
    u = np.maximum(u, v)
    return p - lr * (m / (1 - beta1**t)) / (np.sqrt(u / (1 - beta2**t)) + eps), m, v, u


def rmsprop(p, g, v, b, a, lr, alpha, eps, weight_decay, momentum, centered) -> tuple[np.ndarray, ...]:
    """(p, v, b, a) after one step of torch.optim.RMSprop's documented algorithm; what is not kept stays as it is."""
    p, g, v, b, a = f64(p), f64(g), f64(v), f64(b), f64(a)
    g = g + weight_decay * p
    v = alpha * v + (1 - alpha) * g**2
    a = alpha * a + (1 - alpha) * g if centered else a
    step = g / (np.sqrt(np.maximum(v - a**2, 0) if centered else v) + eps)
    b = momentum * b + step if momentum else b
    return p - lr * (b if momentum else step), v, b, a


def adagrad(p, g, s, lr, lr_decay, weight_decay, eps, t) -> tuple[np.ndarray, np.ndarray]:
    """(p, s) after step t of torch.optim.Adagrad's documented algorithm."""
    p, g, s = f64(p), f64(g), f64(s)
    g = g + weight_decay * p
    s = s + g**2
    return p - lr / (1 + (t - 1) * lr_decay) * g / (np.sqrt(s) + eps), s


def nadam(
    p, g, m, v, product, lr, beta1, beta2, eps, weight_decay, momentum_decay, decoupled, t
) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """(p, m, v, μ₁ ⋯ μₜ) after step t of torch.optim.NAdam's documented algorithm, line by line."""
    p, g, m, v = f64(p), f64(g), f64(m), f64(v)
    if decoupled:
        p = p - lr * weight_decay * p
    elif weight_decay:
        g = g + weight_decay * p
    mu_t = beta1 * (1 - 0.96 ** (t * momentum_decay) / 2)
    mu_next = beta1 * (1 - 0.96 ** ((t + 1) * momentum_decay) / 2)
    product = product * mu_t
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g**2
    m_hat = mu_next * m / (1 - product * mu_next) + (1 - mu_t) * g / (1 - product)
    v_hat = v / (1 - beta2**t)
    return p - lr * m_hat / (np.sqrt(v_hat) + eps), m, v, product


# ---------------------------------------------------------------- data


def gather(features, order, start: int, scale: float, N: int) -> np.ndarray:
    return np.array([f64(features[order[start + n]]) * scale for n in range(N)]).reshape(N, features.shape[1])


def fingerprint(array) -> int:
    """Σ bits[i] c (2i + 1) modulo 2⁶⁴ over the 4-byte words of the array."""
    words = np.frombuffer(array.tobytes(), np.uint32).tolist()
    return sum(word * GAMMA * (2 * i + 1) for i, word in enumerate(words)) % WORD


def lion(p, g, m, lr: float, beta1: float, beta2: float, weight_decay: float) -> tuple[np.ndarray, np.ndarray]:
    """(p, m) after a step: Algorithm 2 of the paper, line by line."""
    p, g, m = f64(p), f64(g), f64(m)
    c = beta1 * m + (1 - beta1) * g
    return p - lr * (np.sign(c) + weight_decay * p), beta2 * m + (1 - beta2) * g


def mse(z, targets) -> tuple[float, np.ndarray]:
    """(mean over all numbers of (z - t)², dz)."""
    apart = f64(z) - f64(targets)
    return float((apart**2).sum() / apart.size), 2 * apart / apart.size


def r2(z, targets) -> float:
    """1 - Σ (z - t)² / Σ (t - mean)², the mean over the columns; NaN where a column's targets are all the same."""
    scores = []
    for ours, t in zip(f64(z).T, f64(targets).T, strict=True):
        spread = ((t - t.mean()) ** 2).sum()
        scores.append(1 - ((ours - t) ** 2).sum() / spread if spread > 0 else math.nan)
    return sum(scores) / len(scores)


def cosine_annealing(start: float, done: int, T_max: int, eta_min: float) -> float:
    """Half a period of the cosine from start to eta_min: cos² of the half angle."""
    return eta_min + (start - eta_min) * math.cos(math.pi * done / T_max / 2) ** 2
