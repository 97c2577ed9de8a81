"""A table with numbers, yes and no, words and gaps, twice: as a scikit-learn pipeline, and by `fm.data.table`.

The pipeline says what becomes of each column, and all searches of scikit-learn work on it. `fm.data.table` sees from a
column what should become of it, learns means and categories on the training rows alone, and the model keeps them, in
its file too: frames, CSV and Parquet are taken as they come. The customers are made up. That is why the best accuracy
that anyone can have is known: of who knows the true probabilities.

    python examples/columns_of_every_kind.py    needs the extras sklearn and tables: pip install -e '.[sklearn,tables]'
"""

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import fastmlp as fm
from fastmlp.sklearn import MLPClassifier


def customers(rows: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    """A frame of customers, and of each the true probability that he leaves within the year."""
    rng = np.random.default_rng(seed)
    months, calls = rng.exponential(24, rows), rng.poisson(1.5, rows)
    contract = rng.choice(["monthly", "yearly", "two years"], rows, p=[0.5, 0.3, 0.2])
    region, paperless = rng.choice(["north", "south", "east", "west"], rows), rng.random(rows) < 0.6
    bound = np.select([contract == "yearly", contract == "two years"], [1.5, 3.0])
    z = 1.5 - 0.08 * months - bound + 0.8 * calls * (contract == "monthly") + (region == "east") - 0.5 * paperless
    p = 1 / (1 + np.exp(-z))
    frame = pd.DataFrame({"months": months, "calls": calls, "contract": contract, "region": region})
    frame["paperless"], frame["leaves"] = paperless, rng.random(rows) < p
    frame.loc[rng.random(rows) < 0.1, "months"] = np.nan  # not known of every tenth
    frame.loc[rng.random(rows) < 0.1, "region"] = None
    return frame, p


def main() -> None:
    """Learn from the same rows both ways, ask both about the same new ones."""
    frame, p = customers(4500, seed=0)
    print(frame.head(4).to_string(index=False))
    train, test, _, p_test = train_test_split(frame, p, test_size=1 / 3, random_state=0)
    X, y, X_test, y_test = train.drop(columns="leaves"), train["leaves"], test.drop(columns="leaves"), test["leaves"]

    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(add_indicator=True), StandardScaler()), ["months", "calls"]),
        (OneHotEncoder(handle_unknown="ignore"), ["contract", "region"]),  # what is missing is a category of its own
        ("passthrough", ["paperless"]),
    )
    net = MLPClassifier((32,), early_stopping=True, learning_rate_init=0.01, random_state=0)
    grid = {"net__dropout": [0, 0.3], "net__norm": [None, "batch"]}  # not in scikit-learn's MLP
    # all of the pipeline is fitted in each fold: means and categories come from its training rows alone
    search = GridSearchCV(Pipeline([("columns", columns), ("net", net)]), grid, cv=3).fit(X, y)
    print(f"best of the grid: {search.best_params_}")

    train_set, test_set = fm.data.table(train, "leaves", test=test, validation=0.1)
    fm.manual_seed(0)
    model = fm.nn.MLP(train_set.n_features, (32,), 2)
    stop = fm.EarlyStopping(patience=10)
    fm.fit(model, train_set, validation=train_set.validation, epochs=100, callbacks=[stop], progress=False)

    most = max(y_test.mean(), 1 - y_test.mean())
    print(f"accuracy on {len(test):,} new rows: pipeline {search.score(X_test, y_test):.1%}, ", end="")
    assert test_set is not None  # there is one, as it was asked for
    print(f"fm.data.table {fm.evaluate(model, test_set).accuracy:.1%}")
    print(f"always the same answer {most:.1%}, the true probabilities {np.mean((p_test > 0.5) == y_test):.1%}")

    # later rows come as they come: another order, one column more, a gap; a warning names the region that is new
    later = pd.DataFrame({"region": ["overseas", "east"], "contract": ["two years", "monthly"], "calls": [0, 4]})
    later["months"], later["paperless"], later["name"] = [60.0, np.nan], [True, False], ["Ada", "Bo"]
    print(f"two new customers: pipeline {search.predict(later)}, fm.predict {fm.predict(model, later)}")


if __name__ == "__main__":
    main()
