"""Regression with quantiles: not one number, but an interval that holds the target in eight cases of ten.

How long a delivery takes grows with the distance, and so does how uncertain it is; delays are long, and there is no
early arrival to match them. Squared errors give the mean alone. `loss="quantile"` with q = 0.1 and 0.9 gives two curves
with 80 % of the rows between them, which are wide where the data are.

    python examples/regression_quantiles.py          needs the extra sklearn: pip install -e '.[sklearn]'
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from sklearn.compose import TransformedTargetRegressor
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastmlp.sklearn import MLPRegressor


def deliveries(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) kilometres and the hour, and the minutes of each delivery. Made up, so that the truth is known."""
    rng = np.random.default_rng(seed)
    distance, hour = rng.uniform(0, 20, rows), rng.uniform(8, 20, rows)
    rush = np.exp(-0.5 * (hour - 17) ** 2)
    delay = rng.gamma(1.5, 1.0, rows) * (0.3 + 0.12 * distance) * (2 + 6 * rush)
    return np.stack([distance, hour], axis=1), 5 + 2 * distance + delay


def net(loss: str, quantile: float = 0.5) -> TransformedTargetRegressor:
    """A net on scaled columns for a scaled target: a quantile of the scaled is the scaled quantile."""
    regressor = MLPRegressor(loss, (32, 32), batch_size=64, learning_rate_init=0.003, random_state=0)
    regressor.set_params(quantile=quantile, early_stopping=True)
    return TransformedTargetRegressor(make_pipeline(StandardScaler(), regressor), transformer=StandardScaler())


def main() -> None:
    """Fit three quantiles and a mean, count what lies within, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs"), metavar="DIR", help="where the picture goes")
    folder = parser.parse_args().out
    X, X_test, y, y_test = train_test_split(*deliveries(6000, seed=0), test_size=1 / 3, random_state=0)
    nets = {q: net("quantile", q).fit(X, y) for q in (0.1, 0.5, 0.9)}
    said = {q: fitted.predict(X_test) for q, fitted in nets.items()}

    # the usual way, to compare: the mean, and around it the same band everywhere, 80 % of the training errors
    mean = net("squared_error").fit(X, y)
    low, high = np.quantile(y - mean.predict(X), [0.1, 0.9])
    about_mean = mean.predict(X_test)
    bands = {"quantiles": (said[0.1], said[0.9]), "mean and constant band": (about_mean + low, about_mean + high)}

    print(f"{'of 2,000 new rows, within':26}{'all':>8}{'below 5 km':>12}{'beyond 15 km':>14}{'width':>12}")
    near, far = X_test[:, 0] < 5, X_test[:, 0] > 15
    for name, (a, b) in bands.items():
        within = (a <= y_test) & (y_test <= b)
        shares = f"{within.mean():8.1%}{within[near].mean():12.1%}{within[far].mean():14.1%}"
        print(f"{name:26}{shares}{np.mean(b - a):8.1f} min")
    print("below " + ", ".join(f"q = {q}: {np.mean(y_test <= z):.1%}" for q, z in said.items()))

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    ax = figure.subplots()
    rush = abs(X_test[:, 1] - 17) < 1
    ax.plot(X_test[rush, 0], y_test[rush], ".", color="0.7", label="deliveries from 16 to 18 h")
    line = np.stack([np.linspace(0, 20, 100), np.full(100, 17.0)], axis=1)  # at 17 h
    ax.fill_between(line[:, 0], nets[0.1].predict(line), nets[0.9].predict(line), alpha=0.3, label="q = 0.1 to 0.9")
    ax.plot(line[:, 0], nets[0.5].predict(line), label="q = 0.5")
    for side, label in ((low, "mean and constant band"), (high, None)):
        ax.plot(line[:, 0], mean.predict(line) + side, "--", color="C3", label=label)
    ax.set(xlabel="distance, km", ylabel="minutes", xlim=(0, 20), ylim=(0, None))
    ax.legend(loc="upper left", frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "quantiles.png", dpi=120)
    print(f"wrote {folder / 'quantiles.png'}")


if __name__ == "__main__":
    main()
