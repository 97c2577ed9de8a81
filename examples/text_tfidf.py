"""Text: which module of scikit-learn is a paragraph of its documentation from?

TF-IDF turns each paragraph into a row of many thousand columns, nearly all of them 0. The rows stay sparse (CSR)
all the way: `MLPClassifier` reads only what is there, so an epoch takes a fraction of scikit-learn's.

    python examples/text_tfidf.py          needs the extra sklearn: pip install -e '.[sklearn]'
"""

import importlib
import inspect
import re
import warnings
from time import perf_counter

import numpy as np
from sklearn import neural_network
from sklearn.dummy import DummyClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.model_selection import GroupShuffleSplit
from sklearn.svm import LinearSVC

from fastmlp.sklearn import MLPClassifier

MODULES = ("cluster", "decomposition", "linear_model", "metrics", "preprocessing")


def paragraphs() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(texts, modules, names): the paragraphs of all docstrings, which module each is from, and of which object."""
    found: dict[str, set[tuple[str, str]]] = {}
    for module in MODULES:
        public = importlib.import_module(f"sklearn.{module}")
        for name in public.__all__:
            thing = getattr(public, name)
            parts = vars(thing).values() if inspect.isclass(thing) else []
            for documented in [thing, *filter(callable, parts)]:
                for text in re.split(r"\n\s*\n", inspect.getdoc(documented) or ""):
                    if len(text) >= 40 and ">>>" not in text:  # neither a heading nor code
                        found.setdefault(" ".join(text.split()), set()).add((module, name))
    # boilerplate that several objects share could lie on both sides of the split below, and would be known by heart
    alone = sorted((text, *at) for text, (at, *others) in ((t, tuple(w)) for t, w in found.items()) if not others)
    texts, modules, names = zip(*alone, strict=True)
    return np.array(texts, object), np.array(modules), np.array(names)


def main() -> None:
    """Vectorize, train three models on the same rows, compare."""
    texts, modules, names = paragraphs()
    # a class or function is on one side: its paragraphs repeat its name, which would give the answer away
    train, test = next(GroupShuffleSplit(1, test_size=0.25, random_state=0).split(texts, modules, names))
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, dtype=np.float32)  # float32 in, a float32 net
    X, X_test = words.fit_transform(texts[train]), words.transform(texts[test])
    y, y_test = modules[train], modules[test]
    share = X.nnz / np.prod(X.shape)
    print(f"{len(train):,} paragraphs to learn from, {len(test):,} to test on, ", end="")
    print(f"{X.shape[1]:,} words and pairs, {share:.2%} not 0")

    models = {
        "most frequent module": DummyClassifier(),
        "LinearSVC": LinearSVC(),  # hard to beat on text: with so many columns, classes are nearly separable
        "fastmlp, 10 epochs": MLPClassifier((32,), batch_size=64, max_iter=10, dropout=0.2, random_state=0),
        "scikit-learn's MLP, 1 epoch": neural_network.MLPClassifier((32,), batch_size=64, max_iter=1, random_state=0),
    }
    warnings.simplefilter("ignore", ConvergenceWarning)  # so many epochs are what is asked for
    for name, model in models.items():
        start = perf_counter()
        model.fit(X, y)
        print(f"{name:28} accuracy {model.score(X_test, y_test):.3f}, {perf_counter() - start:6.2f} s to fit")


if __name__ == "__main__":
    main()
