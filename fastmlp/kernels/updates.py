"""Update rules. A pair each: `scale`, once a parameter and step, and `update`, a flat loop over any piece of it.

p, g and the state m, v, u in the paper's letters are 1-d arrays of one length and dtype; p and the state change in
place, g does not. A rule that keeps less than three arrays leaves the others alone (they may be empty).
option: (n,) float64, the options in the order of the class in `optim`; option[0] is lr, and `scale` takes the learning
rate of this step, as a schedule gives it, by itself.    t counts the steps from 1.    scale: (SCALES,) float64
The first places of `scale` hold the `numbers` of the rule, such as a running product: `scale` finds them as the step
before left them, and leaves them for the next. What else is in it when it is called means nothing.
"""

import numpy as np

from .forms import call_rule, call_scale
from .jit import inner, kernel
from .simd import view

SCALES = 8  # numbers that `scale` may hand to `update`


@inner
def prepare(rule, slot, step, scales):
    """(option, scale) of a parameter for a step of the epoch; scales: (slots, SCALES), the thread's own.

    Each thread calls `scale` once a step for each slot, so that the numbers that a rule carries on in it are the same
    for all.
    """
    scale = scales[slot]
    option = rule.option[min(step - rule.first, rule.option.shape[0] - 1), slot]
    call_scale(rule.scale, option, option[0], rule.counts[slot] + step + 1, scale)
    return option, scale


@inner
def step(rule, p, g, first, m, v, u, at, size, option, scale):
    """The step of the rule at an address on `size` numbers from p[at] on; their gradients lie in g from `first` on."""
    call_rule(
        rule, view(p, at, (size,)), view(g, first, (size,)), view(m, at, (kept(m, at, size),)),
        view(v, at, (kept(v, at, size),)), view(u, at, (kept(u, at, size),)), option, scale,
    )  # fmt: skip


@inner
def kept(flat, at, size):
    """`size`, or 0 where the rule does not keep this array."""
    return size if at + size <= flat.size else 0


@kernel
def sgd_scale(option, lr, t, scale):
    """scale = (lr, whether this is the first step)."""
    scale[0], scale[1] = lr, t == 1


@kernel
def sgd_update(p, g, b, v, u, option, scale):
    """g ← ±g + λp;  b ← μb + (1 - τ)g, and b = g in the first step;  d = g + μb with Nesterov, else b;  p ← p - lr d.

    Without momentum d = g, and b is not touched.
    option: (lr, μ momentum, τ dampening, λ weight_decay, nesterov, maximize: the sign of g is -).
    Source: PyTorch's documentation of torch.optim.SGD; Sutskever et al., ICML 2013.
    """
    number = p.dtype.type
    momentum, nesterov, first = option[1], option[4] != 0, scale[1] != 0
    lr, mu, keep, decay = number(scale[0]), number(momentum), number(1 - option[2]), number(option[3])
    sign = number(-1 if option[5] != 0 else 1)  # d below is ±d, so that a loop has one operation less: what multiplies
    rate, keep, decay, also = sign * lr, sign * keep, sign * decay, sign * mu  # d and what is added to it have the sign
    if momentum == 0:
        for i in range(p.size):
            p[i] -= rate * (g[i] + decay * p[i])
    elif first:
        for i in range(p.size):
            d = g[i] + decay * p[i]
            b[i] = sign * d
            p[i] -= rate * (d + mu * d if nesterov else d)
    else:
        for i in range(p.size):
            d = g[i] + decay * p[i]
            b[i] = mu * b[i] + keep * d
            p[i] -= rate * (d + also * b[i]) if nesterov else lr * b[i]


@inner
def larger(a, b):
    """The larger of two numbers; NaN where one is."""
    return a if a >= b or a != a else b


@kernel
def adam_scale(option, lr, t, scale):
    """scale = (α, ε̂, lr) of step t:  α = lr √(1 - β₂ᵗ) / (1 - β₁ᵗ),  ε̂ = ε √(1 - β₂ᵗ).

    lr m̂ / (√v̂ + ε) = α m / (√v + ε̂): the same fraction, both parts multiplied by √(1 - β₂ᵗ). With eps_hat, ε̂ = ε.
    """
    root, hat = np.sqrt(1 - option[2] ** t), option.size > 8 and option[8] != 0
    scale[0], scale[1], scale[2] = lr * root / (1 - option[1] ** t), option[3] if hat else option[3] * root, lr


@kernel
def adam_update(p, g, m, v, u, option, scale):
    """g ← ±g + λp;  m ← β₁m + (1 - β₁)g;  v ← β₂v + (1 - β₂)g²;  p ← p - lr m̂ / (√v̂ + ε).

    m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ): see `adam_scale`. With amsgrad u ← max(u, v), and û in place of v̂.
    option: (lr, β₁, β₂, ε, λ weight_decay, amsgrad, maximize: the sign of g is -, lazy, eps_hat); AdamW has not the
    last two.
    Sources: Kingma and Ba, ICLR 2015, Algorithm 1; Reddi et al., ICLR 2018, Algorithm 2, in PyTorch's form.
    """
    number = p.dtype.type
    alpha, eps_hat, sign = number(scale[0]), number(scale[1]), number(-1 if option[6] != 0 else 1)
    b1, c1, b2, c2 = number(option[1]), sign * number(1 - option[1]), number(option[2]), number(1 - option[2])
    decay = sign * number(option[4])  # gi is ±g + λp times its sign, which c1 has too
    if option[5] != 0:
        for i in range(p.size):
            gi = g[i] + decay * p[i]
            m[i] = b1 * m[i] + c1 * gi
            v[i] = b2 * v[i] + c2 * gi * gi
            u[i] = larger(u[i], v[i])
            p[i] -= alpha * m[i] / (np.sqrt(u[i]) + eps_hat)
    else:
        for i in range(p.size):
            gi = g[i] + decay * p[i]
            m[i] = b1 * m[i] + c1 * gi
            v[i] = b2 * v[i] + c2 * gi * gi
            p[i] -= alpha * m[i] / (np.sqrt(v[i]) + eps_hat)


@kernel
def adamw_update(p, g, m, v, u, option, scale):
    """p ← p (1 - lr λ);  then Adam's step with the gradient as it is: the decay does not pass through m and v.

    Source: Loshchilov and Hutter, ICLR 2019, Algorithm 2, in PyTorch's form (the decay is scaled by lr).
    """
    number = p.dtype.type
    alpha, eps_hat, shrink = number(scale[0]), number(scale[1]), number(1 - scale[2] * option[4])
    sign = number(-1 if option[6] != 0 else 1)
    b1, c1, b2, c2 = number(option[1]), sign * number(1 - option[1]), number(option[2]), number(1 - option[2])
    if option[5] != 0:
        for i in range(p.size):
            m[i] = b1 * m[i] + c1 * g[i]
            v[i] = b2 * v[i] + c2 * g[i] * g[i]
            u[i] = larger(u[i], v[i])
            p[i] = p[i] * shrink - alpha * m[i] / (np.sqrt(u[i]) + eps_hat)
    else:
        for i in range(p.size):
            m[i] = b1 * m[i] + c1 * g[i]
            v[i] = b2 * v[i] + c2 * g[i] * g[i]
            p[i] = p[i] * shrink - alpha * m[i] / (np.sqrt(v[i]) + eps_hat)


@kernel
def lion_scale(option, lr, t, scale):
    """scale = (lr,)."""
    scale[0] = lr


@kernel
def lion_update(p, g, m, v, u, option, scale):
    """c = β₁m + (1 - β₁)g;  p ← p (1 - lr λ) - lr sign(c);  m ← β₂m + (1 - β₂)g.    sign(0) = 0, NaN stays NaN

    option: (lr, β₁, β₂, λ weight_decay). Source: Chen et al., Symbolic Discovery of Optimization Algorithms, NeurIPS
    2023, Algorithm 2.
    """
    number = p.dtype.type
    lr, shrink, one, zero = number(scale[0]), number(1 - scale[0] * option[3]), number(1), number(0)
    b1, c1, b2, c2 = number(option[1]), number(1 - option[1]), number(option[2]), number(1 - option[2])
    for i in range(p.size):
        c = b1 * m[i] + c1 * g[i]
        sign = one if c > zero else (-one if c < zero else c)
        p[i] = p[i] * shrink - lr * sign
        m[i] = b2 * m[i] + c2 * g[i]


@kernel
def rmsprop_scale(option, lr, t, scale):
    """scale = (lr,)."""
    scale[0] = lr


@kernel
def rmsprop_update(p, g, v, b, a, option, scale):
    """g ← ±g + λp;  v ← αv + (1 - α)g²;  d = g / (√v + ε);  with momentum b ← μb + d and d = b;  p ← p - lr d.

    centered: a ← αa + (1 - α)g, and v - a² stands below the root in place of v. It is a variance: where rounding makes
    it less than 0, it is 0 here (and the root NaN in PyTorch).
    option: (lr, α alpha, ε eps, λ weight_decay, μ momentum, centered, maximize: the sign of g is -).
    Source: Tieleman and Hinton, Lecture 6.5, COURSERA 2012, in the form of PyTorch's documentation of
    torch.optim.RMSprop; centered: Graves, arXiv:1308.0850, 2013.
    """
    number = p.dtype.type
    lr, keep, new, eps, mu = (
        number(scale[0]),
        number(option[1]),
        number(1 - option[1]),
        number(option[2]),
        number(option[4]),
    )
    momentum, centered, zero, sign = option[4] != 0, option[5] != 0, number(0), number(-1 if option[6] != 0 else 1)
    decay, signed = sign * number(option[3]), sign * new  # gi is ±g + λp times its sign
    for i in range(p.size):
        gi = g[i] + decay * p[i]
        v[i] = keep * v[i] + new * gi * gi
        below = v[i]
        if centered:
            a[i] = keep * a[i] + signed * gi
            below -= a[i] * a[i]
            below = zero if below < zero else below
        d = sign * gi / (np.sqrt(below) + eps)
        if momentum:
            b[i] = mu * b[i] + d
            d = b[i]
        p[i] -= lr * d


@kernel
def adagrad_scale(option, lr, t, scale):
    """scale = (lr / (1 + (t - 1)η),).    η lr_decay"""
    scale[0] = lr / (1 + (t - 1) * option[1])


@kernel
def adagrad_update(p, g, s, v, u, option, scale):
    """g ← ±g + λp;  s ← s + g²;  p ← p - lr g / (√s + ε), with the rate of `adagrad_scale`.

    option: (lr, η lr_decay, λ weight_decay, what s begins with, ε eps, maximize: the sign of g is -).
    Source: Duchi, Hazan and Singer, JMLR 2011, as PyTorch's documentation of torch.optim.Adagrad has it.
    """
    number = p.dtype.type
    eps, sign = number(option[4]), number(-1 if option[5] != 0 else 1)
    rate, decay = sign * number(scale[0]), sign * number(option[2])  # gi is ±g + λp times its sign, which rate has too
    for i in range(p.size):
        gi = g[i] + decay * p[i]
        s[i] += gi * gi
        p[i] -= rate * gi / (np.sqrt(s[i]) + eps)


@kernel
def nadam_scale(option, lr, t, scale):
    """scale = (M, α, α', ε̂, lr) of step t.    μₜ = β₁(1 - 0.96^(tψ) / 2), ψ momentum_decay;  M ← M μₜ

    M is the product so far: it has no closed form, and goes on from what it was. α = lr (1 - μₜ) / (1 - M) belongs to
    the gradient, α' = lr μₜ₊₁ / (1 - M μₜ₊₁) to m, both times √(1 - β₂ᵗ), as ε̂ is.
    """
    mu = option[1] * (1 - 0.5 * 0.96 ** (t * option[5]))
    ahead = option[1] * (1 - 0.5 * 0.96 ** ((t + 1) * option[5]))
    root = np.sqrt(1 - option[2] ** t)
    scale[0] *= mu
    scale[1], scale[2] = lr * (1 - mu) / (1 - scale[0]) * root, lr * ahead / (1 - scale[0] * ahead) * root
    scale[3], scale[4] = option[3] * root, lr


@kernel
def nadam_update(p, g, m, v, u, option, scale):
    """g ← ±g + λp;  m ← β₁m + (1 - β₁)g;  v ← β₂v + (1 - β₂)g²;  p ← p - (α g + α' m) / (√v + ε̂).

    With decoupled_weight_decay p ← p (1 - lr λ) first, and g stays as it is. α, α' and ε̂ are those of `nadam_scale`.
    option: (lr, β₁, β₂, ε, λ weight_decay, ψ momentum_decay, decoupled_weight_decay, maximize: the sign of g is -).
    Source: Dozat, ICLR 2016 workshop, Algorithm 2, as PyTorch's documentation of torch.optim.NAdam has it.
    """
    number = p.dtype.type
    beside, within = (option[4], 0.0) if option[6] != 0 else (0.0, option[4])
    sign, shrink = number(-1 if option[7] != 0 else 1), number(1 - scale[4] * beside)
    along, ahead, eps_hat, decay = sign * number(scale[1]), number(scale[2]), number(scale[3]), sign * number(within)
    b1, c1, b2, c2 = number(option[1]), sign * number(1 - option[1]), number(option[2]), number(1 - option[2])
    for i in range(p.size):
        gi = g[i] + decay * p[i]  # ±g + λp times its sign, which c1 and along have too
        m[i] = b1 * m[i] + c1 * gi
        v[i] = b2 * v[i] + c2 * gi * gi
        p[i] = p[i] * shrink - (along * gi + ahead * m[i]) / (np.sqrt(v[i]) + eps_hat)
