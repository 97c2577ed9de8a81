"""Update rules. Each is one flat loop over parameters p, gradients g and the state in the paper's letters.

p, g and the state are 1-d arrays of one length and dtype; p and the state change in place, g does not.
"""

import numpy as np

from .jit import inner, kernel


@kernel
def sgd_step(p, g, b, lr, momentum, dampening, weight_decay, nesterov, first):
    """g ← g + λp;  b ← μb + (1 - τ)g, and b = g in the first step;  d = g + μb with Nesterov, else b;  p ← p - lr d.

    Without momentum d = g, and b is not touched (it may be empty). lr learning rate, μ momentum, τ dampening,
    λ weight_decay. Source: PyTorch's documentation of torch.optim.SGD; Sutskever et al., ICML 2013.
    """
    number = p.dtype.type
    lr, mu, keep, decay = number(lr), number(momentum), number(1 - dampening), number(weight_decay)
    if momentum == 0:
        for i in range(p.size):
            p[i] -= lr * (g[i] + decay * p[i])
    elif first:
        for i in range(p.size):
            d = g[i] + decay * p[i]
            b[i] = d
            p[i] -= lr * (d + mu * d if nesterov else d)
    else:
        for i in range(p.size):
            d = g[i] + decay * p[i]
            b[i] = mu * b[i] + keep * d
            p[i] -= lr * (d + mu * b[i] if nesterov else b[i])


@inner
def adam_scale(lr, beta1, beta2, eps, t):
    """(α, ε̂) of step t, counted from 1:  α = lr √(1 - β₂ᵗ) / (1 - β₁ᵗ),  ε̂ = ε √(1 - β₂ᵗ).

    lr m̂ / (√v̂ + ε) = α m / (√v + ε̂): the same fraction, both parts multiplied by √(1 - β₂ᵗ).
    """
    root = np.sqrt(1 - beta2**t)
    return lr * root / (1 - beta1**t), eps * root


@kernel
def adam_step(p, g, m, v, lr, beta1, beta2, eps, weight_decay, t):
    """g ← g + λp;  m ← β₁m + (1 - β₁)g;  v ← β₂v + (1 - β₂)g²;  p ← p - lr m̂ / (√v̂ + ε).

    m̂ = m / (1 - β₁ᵗ), v̂ = v / (1 - β₂ᵗ); t counts the steps from 1.
    Source: Kingma and Ba, ICLR 2015, Algorithm 1.
    """
    alpha, eps_hat = adam_scale(lr, beta1, beta2, eps, t)
    adam_update(p, g, m, v, alpha, beta1, beta2, eps_hat, weight_decay)


@inner
def adam_update(p, g, m, v, alpha, beta1, beta2, eps_hat, weight_decay):
    """`adam_step` with the scale of the step already known, so that a piece of the arrays can be done alone."""
    number = p.dtype.type
    alpha, eps_hat, decay = number(alpha), number(eps_hat), number(weight_decay)
    b1, c1, b2, c2 = number(beta1), number(1 - beta1), number(beta2), number(1 - beta2)
    for i in range(p.size):
        gi = g[i] + decay * p[i]
        m[i] = b1 * m[i] + c1 * gi
        v[i] = b2 * v[i] + c2 * gi * gi
        p[i] -= alpha * m[i] / (np.sqrt(v[i]) + eps_hat)


@kernel
def adamw_step(p, g, m, v, lr, beta1, beta2, eps, weight_decay, t):
    """p ← p (1 - lr λ);  then Adam's step with the gradient as it is: the decay does not pass through m and v.

    Source: Loshchilov and Hutter, ICLR 2019, Algorithm 2, in PyTorch's form (the decay is scaled by lr).
    """
    alpha, eps_hat = adam_scale(lr, beta1, beta2, eps, t)
    adamw_update(p, g, m, v, alpha, beta1, beta2, eps_hat, lr * weight_decay)


@inner
def adamw_update(p, g, m, v, alpha, beta1, beta2, eps_hat, decay):
    """`adamw_step` with the scale of the step and  decay = lr λ  already known."""
    number = p.dtype.type
    alpha, eps_hat, shrink = number(alpha), number(eps_hat), number(1 - decay)
    b1, c1, b2, c2 = number(beta1), number(1 - beta1), number(beta2), number(1 - beta2)
    for i in range(p.size):
        m[i] = b1 * m[i] + c1 * g[i]
        v[i] = b2 * v[i] + c2 * g[i] * g[i]
        p[i] = p[i] * shrink - alpha * m[i] / (np.sqrt(v[i]) + eps_hat)
