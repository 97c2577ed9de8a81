"""`fm.export.javascript`: the ES module answers as the library does, in node and in a page of one's own."""

import dataclasses
import json
import shutil
import subprocess

import exported
import numpy as np
import pytest

import fastmlp as fm

if shutil.which("node") is None:
    pytest.skip("node is not installed; what it makes of the module is compared", allow_module_level=True)

CASES = exported.cases()
READ = """
const named = (key, v) => typeof v === "bigint" ? { big: String(v) }
  : typeof v === "number" && !Number.isFinite(v) ? String(v) : v;
"""
SCRIPT = """import { readFileSync, writeFileSync } from "node:fs";
%s
for (const [k, rows] of Object.entries(JSON.parse(readFileSync("plan.json", "utf8")).cases)) {
  const m = await import(`./net${k}.mjs`);
  const all = JSON.parse(readFileSync(rows, "utf8"));
  const found = { logits: all.map((row) => Array.from(m.logits(row))), predict: all.map(m.predict) };
  if (m.probabilities) found.proba = all.map((row) => m.probabilities(row));
  writeFileSync(`out${k}.json`, JSON.stringify(found, named));
}
"""


def answered(cases, folder):
    """What the modules of all cases answer, in one run of node."""
    plan = {}
    for k, case in enumerate(cases):
        fm.export.javascript(case.model, folder / f"net{k}.mjs", scale=case.scale)
        if isinstance(case.rows, np.ndarray):
            plan[k], rows = "rows.json", case.rows.tolist()
        else:
            columns = case.columns()
            plan[k] = f"rows{k}.json"
            rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        (folder / plan[k]).write_text(json.dumps(rows), "utf-8")
    (folder / "plan.json").write_text(json.dumps({"cases": plan}))
    node(SCRIPT % READ, folder)
    found = []
    for k, case in enumerate(cases):
        answers = json.loads((folder / f"out{k}.json").read_text("utf-8"))
        answers["predict"] = np.array([int(v["big"]) if isinstance(v, dict) else v for v in answers["predict"]])
        if (classes := case.model.classes_) is not None and case.kind == "classes":
            answers["predict"] = answers["predict"].astype(classes.dtype)
        found.append(answers)
    return found


def node(script, folder):
    ended = subprocess.run(["node", "--input-type=module", "-"], input=script, capture_output=True, text=True,
                           cwd=folder, timeout=120, check=False)  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return answered(CASES, tmp_path_factory.mktemp("js"))


@pytest.mark.parametrize("k", range(len(CASES)), ids=[case.name for case in CASES])
def test_it_answers_as_the_library(k, made):
    assert exported.faults(CASES[k], made[k]) == []


def test_a_planted_fault_is_seen(tmp_path):
    cases = [case for case in CASES if case.name in ("Tanh plain float64", "table float32", "labels float32")]
    for case in cases:
        case.expected  # noqa: B018  # before the fault
    wrong = [dataclasses.replace(case, model=exported.planted(case.model)) for case in cases]
    for case, found in zip(cases, answered(wrong, tmp_path), strict=True):
        assert exported.faults(case, found)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_formula_means_what_the_twin_in_python_means(dtype, tmp_path):
    fm.export.javascript(exported.odd_net(dtype), tmp_path / "odd.mjs")
    script = f"""import {{ logits }} from "./odd.mjs";
console.log(JSON.stringify({exported.V.tolist()}.map((v) => Array.from(logits([v])))));"""
    found = np.array(json.loads(node(script, tmp_path)))
    # some ten terms of size 10, each right to a rounding
    assert np.allclose(found, exported.odd_outputs(), rtol=8 * np.finfo(dtype).eps, atol=0)


def test_the_types_of_what_comes_out(tmp_path):
    for name in ("numbers float32", "truths float64", "labels float32", "mse_loss 1 float32", "mse_loss 3 float64"):
        case = next(case for case in CASES if case.name == name)
        fm.export.javascript(case.model, tmp_path / "m.mjs", scale=case.scale)
        script = f"""import * as m from "./m.mjs";
const row = {case.rows[0].tolist()}, said = m.predict(row);
console.log([m.logits(row).constructor.name, Array.isArray(said) ? "array" : typeof said, Object.keys(m)].join(" "));"""
        typed, predicted, names = node(script, tmp_path).split()
        assert typed == ("Float32Array" if case.dtype == np.float32 else "Float64Array")
        kinds = {
            "numbers": "bigint",
            "truths": "boolean",
            "labels": "array",
            "mse_loss 1": "number",
            "mse_loss 3": "array",
        }
        assert predicted == kinds[name.rpartition(" ")[0]]
        more = {"classes": "classes,logits,predict,probabilities", "labels": "logits,predict,probabilities"}
        assert names == more.get(case.kind, "logits,predict")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ('{ age: "old" }', "column age is old; it must be a number"),
        ("{ age: Infinity }", "column age is Infinity; it must be a number"),
        ("{ owns: 2 }", "column owns is 2; it must be a boolean"),
        ("{ other: 1 }", "it must be an object with the columns age"),
        ("null", "row is null; it must be an object with the columns age"),
    ],
)
def test_what_is_no_row_is_refused(row, words, tmp_path):
    fm.export.javascript(exported.table_net(np.float32, [0, 1]), tmp_path / "m.mjs")
    script = f"""import {{ predict }} from "./m.mjs";
try {{ predict({row}); }} catch (error) {{ console.log(error.message); }}"""
    assert words in node(script, tmp_path)


def test_a_row_of_another_length_is_refused(tmp_path):
    fm.export.javascript(CASES[0].model, tmp_path / "m.mjs")
    script = """import { predict } from "./m.mjs";
try { predict([1, 2]); } catch (error) { console.log(error.message); }"""
    assert node(script, tmp_path) == "row has 2 values; it must have 49\n"


def test_texts_end_no_element_of_a_page(tmp_path):
    model = exported.table_net(np.float32, ["</script>", "<!--"])
    fm.export.javascript(model, tmp_path / "m.mjs")
    text = (tmp_path / "m.mjs").read_text("utf-8")
    assert "</script" not in text
    assert "<!--" not in text
    script = 'import { classes } from "./m.mjs"; console.log(classes.join(" "))'
    assert node(script, tmp_path) == "</script> <!--\n"


def test_refusals(tmp_path):
    with pytest.raises(TypeError, match=r"export.javascript: model is int; it must be"):
        fm.export.javascript(1, tmp_path / "m.js")
    assert list(tmp_path.iterdir()) == []
