"""Imbalanced classes: one row of thirty is what is looked for, and a net that never says so is right in 97 % of all.

`class_weight="balanced"` lets each class count the same, however few its rows are. It finds most of the rare rows, and
pays with false alarms: which is better hangs on what a miss costs. Balanced accuracy, the mean of both recalls, is the
measure for two classes that matter alike; accuracy hides what happens.

    python examples/imbalanced.py          needs the extra sklearn: pip install -e '.[sklearn]'
"""

import warnings

from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import accuracy_score, balanced_accuracy_score, precision_score, recall_score
from sklearn.model_selection import train_test_split

from fastmlp.sklearn import MLPClassifier


def main() -> None:
    """Fit with and without weights of the classes, and count."""
    # made up: two classes of normal clusters that overlap, 3 % of the rows in class 1, 1 % of the labels wrong
    X, y = make_classification(
        9000, 12, n_informative=6, n_clusters_per_class=2, weights=[0.97], flip_y=0.01, class_sep=0.8, random_state=0
    )
    X, X_test, y, y_test = train_test_split(X, y, test_size=1 / 3, stratify=y, random_state=0)
    print(f"{len(y):,} rows to learn from, {y.sum()} of them rare; {len(y_test):,} to test on, {y_test.sum()} rare")

    net = MLPClassifier((32,), batch_size=64, max_iter=30, random_state=0)
    warnings.simplefilter("ignore", ConvergenceWarning)  # thirty epochs are what is asked for
    plain = clone(net).fit(X, y)
    balanced = clone(net).set_params(class_weight="balanced").fit(X, y)

    answers = {
        "never": DummyClassifier().fit(X, y).predict(X_test),
        "plain": plain.predict(X_test),
        "balanced": balanced.predict(X_test),
        # much the same without a second training: alarm where the rare class is likelier than it is among all rows
        "plain, lower threshold": (plain.predict_proba(X_test)[:, 1] > y.mean()).astype(int),
    }
    print(f"{'':24}{'accuracy':>10}{'balanced':>10}{'recall':>10}{'precision':>11}")
    for name, said in answers.items():
        accuracy, balance = accuracy_score(y_test, said), balanced_accuracy_score(y_test, said)
        recall, precision = recall_score(y_test, said), precision_score(y_test, said, zero_division=0)
        print(f"{name:24}{accuracy:10.1%}{balance:10.1%}{recall:10.1%}{precision:11.1%}")
    # a balanced net was told that both classes come as often: its probabilities are of that world, not of this one
    share = [f"{model.predict_proba(X_test)[:, 1].mean():.1%}" for model in (plain, balanced)]
    print(f"mean probability of the rare class: plain {share[0]}, balanced {share[1]}; its share: {y_test.mean():.1%}")


if __name__ == "__main__":
    main()
