"""The page of a model that was trained on a table says what became of its columns."""

import numpy as np
import pandas

import fastmlp as fm
from fastmlp.show.report.encoding import FEW, section


def trained():
    rng = np.random.default_rng(0)
    rows = pandas.DataFrame({
        "size": rng.normal(40, 10, 80), "sold": rng.random(80) > 0.5, "few": rng.choice(["a<b", "c"], 80),
        "many": [f"town {n % 20}" for n in range(80)], "w": np.ones(80), "price": rng.normal(2e4, 5e3, 80),
    })  # fmt: skip
    rows.loc[::9, "size"] = np.nan
    return fm.data.table(rows, "price", sample_weight="w")[0]


def test_each_column_its_categories_and_the_scale_are_there():
    train = trained()
    html = section(train.encoding)
    size = next(column for column in train.encoding.columns if column.name == "size")
    assert f"(x − {size.mean:.5g}) / {size.std:.5g}" in html
    assert f"{size.mean:.5g}, the mean, and a feature of its own is 1" in html
    assert "1 where true, 0 where false" in html
    assert "1 for its category: a&lt;b, c" in html  # as words, and no tag
    assert "<summary>1 for its category, of 20: town 0, town 1, town 10 …</summary>" in html
    assert html.count("<details>") == 1
    assert all(f"town {n}" in html for n in range(20))
    (mean,), (std,) = train.encoding.target_mean, train.encoding.target_std
    assert f"(t − {mean:.5g}) / {std:.5g} in the loss" in html
    assert "how much a row counts" in html
    assert f"{train.n_features} features" in html
    assert FEW < 20
    assert section(None) == ""


def test_the_page_has_it_for_tables_alone(tmp_path):
    train = trained()
    fm.manual_seed(0)
    model = fm.nn.MLP(train.n_features, (4,), 1)
    for known in (False, True):
        model.encoding_ = train.encoding if known else None
        page = fm.report.write_report(tmp_path, model, fm.History(), None, None, {}, None)
        assert ('<section id="table"' in page.read_text("utf-8")) is known
