"""A net goes to PyTorch, is trained on there, and comes back; a learner's own class and a scikit-learn net come too.

`fm.to_torch(model)` is a `torch.nn.Sequential` with the same numbers under the same names. `fm.from_torch` is the way
back: of such a Sequential, or of the `state_dict()` of any class whose forward is Linear, activation, ..., Linear.
Weights cross to the bit. What the outputs mean, such as `classes_`, stays here.

    python examples/through_torch.py          needs PyTorch and the extra sklearn: pip install torch -e '.[sklearn]'
"""

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

import fastmlp as fm


class Net(torch.nn.Module):
    """As a course of PyTorch has it."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = torch.nn.Linear(64, 32)
        self.bn1 = torch.nn.BatchNorm1d(32)
        self.fc2 = torch.nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: (N, 64) -> (N, 10)."""
        return self.fc2(torch.relu(self.bn1(self.fc1(x))))


def train(model: torch.nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int) -> None:
    """Minimize by L-BFGS, all rows in each step: a rule that `fit` does not have."""
    rule = torch.optim.LBFGS(model.parameters(), max_iter=steps)

    def loss() -> torch.Tensor:
        rule.zero_grad()
        weights = sum((p**2).sum() for p in model.parameters())
        found = torch.nn.functional.cross_entropy(model(x), y) + 1e-3 * weights
        found.backward()
        return found

    model.train()
    rule.step(loss)
    for _ in range(50):
        model(x)  # so that batch norm's running mean and variance are those of the weights as they are now
    model.eval()


def main() -> None:
    """There, on, back; then the other two."""
    digits, classes = load_digits(return_X_y=True)
    X, X_test, y, y_test = train_test_split(digits.astype(np.float32) / 16, classes, stratify=classes, random_state=0)
    rows, labels, test = torch.from_numpy(X), torch.from_numpy(y), fm.Dataset(X_test, y_test)

    fm.manual_seed(0)
    model = fm.nn.MLP(64, (32,), 10, activation="gelu")
    fm.fit(model, fm.Dataset(X, y), epochs=3, seed=0, progress=False)
    peer = fm.to_torch(model)
    with torch.no_grad():
        q = fm.metrics.softmax(peer(torch.from_numpy(X_test)).numpy())
    p = fm.metrics.softmax(fm.Predictor(model)(X_test))
    print(f"3 epochs of fit: {fm.evaluate(model, test).accuracy:.1%}; PyTorch's probabilities are the same")
    assert np.allclose(p, q, rtol=1e-5)

    train(peer, rows, labels, 40)
    back = fm.from_torch(peer)
    assert all(np.array_equal(back.state_dict()[name], a.numpy()) for name, a in peer.state_dict().items())
    print(f"40 steps of L-BFGS there: {fm.evaluate(back, test).accuracy:.1%}; the weights came back to the bit")

    torch.manual_seed(0)
    net = Net()
    train(net, rows, labels, 40)
    own = fm.from_torch(net.state_dict(), activation="relu")
    half = fm.from_torch(net.bfloat16().state_dict(), activation="relu")
    scores = [fm.evaluate(model, test).accuracy for model in (own, half)]
    print(f"fc1, bn1, fc2 of a class: {scores[0]:.1%}, in bfloat16 {scores[1]:.1%}")

    estimator = MLPClassifier((32,), solver="lbfgs", alpha=0.1, max_iter=1000, random_state=0).fit(X, y)
    found = fm.from_sklearn(estimator)
    same = (fm.predict(found, X_test) == estimator.predict(X_test)).sum()
    print(f"scikit-learn's MLP: {fm.evaluate(found, test).accuracy:.1%}; {same} of {len(test)} answers are the same")


if __name__ == "__main__":
    main()
