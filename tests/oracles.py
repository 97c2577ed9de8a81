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
