"""`fm.export.c`: the header compiles without a warning, and answers as the library does. One file has all the nets."""

import dataclasses
import shutil
import subprocess

import exported
import numpy as np
import pytest

import fastmlp as fm
from fastmlp.store.export import c_header, c_words

if shutil.which("gcc") is None:
    pytest.skip("gcc is not installed; what it compiles is compared", allow_module_level=True)

CASES = exported.cases()
WARNINGS = ("-Wall", "-Wextra", "-pedantic", "-Werror")
KINDS = ("Linear plain", "GELU plain", "LayerNorm plain", "PReLU each", "texts", "labels", "quantile_loss 3", "table")
SMALL = [case for case in CASES if case.name.startswith(KINDS) and case.name.endswith(("32", "table float64"))]
HEAD = """#include <stdio.h>
#include <stdlib.h>
static inline void *all(const char *path, size_t bytes) {
    FILE *file = fopen(path, "rb");
    void *data = malloc(bytes);
    if (file == NULL || data == NULL || fread(data, 1, bytes, file) != bytes) exit(3);
    fclose(file);
    return data;
}
static inline const char *next(const char **texts) { /* of texts with a zero byte behind each; "-" stands for NULL */
    const char *text = *texts;
    *texts += strlen(text) + 1;
    return text[0] == '-' ? NULL : text + 1;
}
"""


def program(cases, folder):
    """Headers, rows and a program that writes the answers of all cases to a file each."""
    lines, calls = [], []
    for k, case in enumerate(cases):
        fm.export.c(case.model, folder / f"net{k}.h", scale=case.scale)
        kind = "float" if case.dtype == np.float32 else "double"
        lines.append(f'#include "net{k}.h"')
        outputs, given = f"net{k}_OUTPUTS", f"x + (size_t)n * net{k}_FEATURES"
        body, freed = "", ""
        if isinstance(case.rows, np.ndarray):
            case.rows.astype(case.dtype).tofile(folder / f"rows{kind}.bin")
            body += f'    {kind} *x = ({kind} *)all("rows{kind}.bin", {case.rows.size} * sizeof({kind}));\n'
            freed = " free(x);"
        else:
            columns = case.model.encoding_.columns
            fields = c_words.members(column.name for column in columns)
            n, table = len(case.rows), case.columns()
            body += f"    static net{k}_row rows[{n}];\n    int n;\n"
            for column, field in zip(columns, fields, strict=True):
                path, values = f"v{k}_{field}.bin", table.get(column.name, [None] * n)
                if column.kind == "category":
                    raw = b"".join(b"-\0" if v is None else b"+" + in_words(v).encode() + b"\0" for v in values)
                    (folder / path).write_bytes(raw)
                    body += f'    char *{field} = (char *)all("{path}", {len(raw)});\n'
                    body += f"    const char *of_{field} = {field};\n"
                    body += f"    for (n = 0; n < {n}; n++) rows[n].{field} = next(&of_{field});\n"
                    freed += f" free({field});"
                else:
                    np.array([np.nan if v is None else float(v) for v in values]).tofile(folder / path)
                    body += f'    double *{field} = (double *)all("{path}", {n} * sizeof(double));\n'
                    body += f"    for (n = 0; n < {n}; n++) rows[n].{field} = {field}[n];\n    free({field});\n"
            given = "&rows[n]"
        numbers = case.kind == "numbers"
        several = case.expected["predict"].ndim > 1
        answers = case.expected["predict"].shape[1] if several else 1
        type_ = "int" if case.kind == "labels" else kind if numbers else "int64_t"
        classes = case.model.classes_
        if case.kind == "classes" and classes is not None and classes.dtype.kind in "fU":
            type_ = "double" if classes.dtype.kind == "f" else "const char *"
        said = f"net{k}_predict(r, a)" if several else f"a[0] = net{k}_predict(r)"
        proba = f"net{k}_proba(r, z); fwrite(z, sizeof *z, {outputs}, file);" * (not numbers)
        write_ = "fwrite(a, sizeof *a, sizeof a / sizeof *a, file);"
        if type_ == "const char *":
            write_ = f"{{ int64_t c; for (c = 0; net{k}_classes[c] != a[0]; c++) {{ }} fwrite(&c, 8, 1, file); }}"
        row = f"const {kind} *" if isinstance(case.rows, np.ndarray) else f"const net{k}_row *"
        declared = "    int n;\n" if isinstance(case.rows, np.ndarray) else ""
        calls.append(f"""static void run{k}(void) {{
{declared if "int n;" not in body else ""}{body}    FILE *file = fopen("out{k}.bin", "wb");
    if (file == NULL) exit(4);
    for (n = 0; n < {len(case.rows)}; n++) {{
        {row} r = {given};
        {kind} z[{outputs}];
        {type_} a[{answers}];
        net{k}_logits(r, z); fwrite(z, sizeof *z, {outputs}, file);
        {proba}
        {said}; {write_}
    }}
    fclose(file);{freed}
}}""")
    main = "int main(void) { " + " ".join(f"run{k}();" for k in range(len(cases))) + " return 0; }\n"
    (folder / "all.c").write_text("\n".join([*lines, HEAD, *calls, main]), "utf-8")


def in_words(value):
    """A value of a column of categories as the header's words have it."""
    if isinstance(value, str | bool):
        return str(value)
    return str(int(value)) if value == int(value) else repr(float(value))


def answers(case, k, folder):
    """What the program wrote."""
    raw, outputs = (folder / f"out{k}.bin").read_bytes(), case.expected["logits"].shape[1]
    predicted, classes = case.expected["predict"], case.model.classes_
    kind = {"labels": np.int32, "numbers": case.dtype}.get(case.kind, np.int64)
    if case.kind == "classes" and classes is not None and classes.dtype.kind == "f":
        kind = np.float64
    if case.kind == "classes" and classes is not None and classes.dtype.kind == "b":
        kind = np.int64
    fields = [("logits", case.dtype, (outputs,))]
    fields += [("proba", case.dtype, (outputs,))] * (case.kind != "numbers")
    fields += [("predict", kind, predicted.shape[1:])]
    found = np.frombuffer(raw, np.dtype(fields))
    answers = {name: found[name] for name, *_ in fields}
    if case.kind == "classes" and classes is not None and classes.dtype.kind in "Ub":
        answers["predict"] = classes[answers["predict"]]
    return answers


def compiled(folder, *options, compiler="gcc", source="all.c"):
    ended = subprocess.run([compiler, *options, *WARNINGS, source, "-o", "all", "-lm"], cwd=folder, text=True,
                           capture_output=True, timeout=300, check=False)  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")


def ran(folder):
    ended = subprocess.run(["./all"], cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The answers of all cases, of one program."""
    folder = tmp_path_factory.mktemp("c")
    program(CASES, folder)
    compiled(folder, "-std=c99", "-O1")
    ran(folder)
    return folder


@pytest.mark.parametrize("k", range(len(CASES)), ids=[case.name for case in CASES])
def test_it_answers_as_the_library(k, made):
    assert exported.faults(CASES[k], answers(CASES[k], k, made)) == []


def test_cpp_has_it_without_a_warning(made):
    shutil.copy(made / "all.c", made / "all.cpp")
    compiled(made, "-std=c++11", "-fsyntax-only", compiler="g++", source="all.cpp")


@pytest.mark.parametrize("faulty", [False, True], ids=["", "planted"])
def test_the_sanitizers_find_nothing_but_a_planted_fault(faulty, tmp_path):
    cases = SMALL[:1] if faulty else SMALL
    program(cases, tmp_path)
    if faulty:  # a layer that reads a number too many
        text = (tmp_path / "net0.h").read_text("utf-8")
        assert "at[count + n] = -1" in text
        (tmp_path / "net0.h").write_text(text.replace("at[count + n] = -1", "at[count + n] = 100000"), "utf-8")
    compiled(tmp_path, "-std=c99", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    if faulty:
        with pytest.raises(AssertionError, match="AddressS"):
            ran(tmp_path)
        return
    ran(tmp_path)
    for k, case in enumerate(SMALL):
        assert exported.faults(case, answers(case, k, tmp_path)) == []


def test_a_planted_fault_is_seen(tmp_path):
    cases = [case for case in CASES if case.name in ("Tanh plain float64", "table float32", "labels float32")]
    for case in cases:
        case.expected  # noqa: B018  # before the fault
    wrong = [dataclasses.replace(case, model=exported.planted(case.model)) for case in cases]
    program(wrong, tmp_path)
    compiled(tmp_path, "-std=c99")
    ran(tmp_path)
    for k, case in enumerate(cases):
        assert exported.faults(case, answers(case, k, tmp_path))


def said_by(folder, text, *options):
    """What a program with this text in `main` prints."""
    (folder / "one.c").write_text(text, "utf-8")
    ended = subprocess.run(["gcc", "-std=c99", *options, *WARNINGS, "one.c", "-o", "one", "-lm"], cwd=folder, text=True,
                           capture_output=True, check=False)  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    return subprocess.run(["./one"], cwd=folder, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_formula_means_what_javascript_means(dtype, tmp_path):
    fm.export.c(exported.odd_net(dtype), tmp_path / "odd.h")
    kind, given = np.dtype(dtype).name.replace("float32", "float").replace("float64", "double"), exported.V.tolist()
    text = f"""#include <stdio.h>
#include "odd.h"
int main(void) {{
    const {kind} v[] = {{{", ".join(map(str, given))}}};
    {kind} z[2];
    int n;
    for (n = 0; n < {len(given)}; n++) {{ odd_logits(v + n, z); printf("%.17g %.17g\\n", z[0], z[1]); }}
    return 0;
}}
"""
    found = np.array(said_by(tmp_path, text).split(), float).reshape(-1, 2)
    # some ten terms of size 10, each right to a rounding
    assert np.allclose(found, exported.odd_outputs(), rtol=8 * np.finfo(dtype).eps, atol=0)


def test_c_has_javascripts_functions_also_where_its_own_differ(tmp_path):
    """NaN in a maximum, a half that is rounded, 1 to the power of NaN."""
    helpers = "".join(f"static double NAME_{name}{text}\n" for name, text in c_header.HELPERS.items())
    calls = """max(NAN, 1); max(1, NAN); min(NAN, 1); min(1, NAN); round(-0.5); round(2.5); round(0.49999999999999994);
    sign(-0.0); sign(NAN); pow(1, NAN); pow(-1, INFINITY); pow(2, 3)"""
    lines = "".join(f'printf("%g ", NAME_{call.strip()});' for call in calls.split(";"))
    text = f"#include <math.h>\n#include <stdio.h>\n{helpers}int main(void) {{ {lines} return 0; }}\n"
    said = said_by(tmp_path, text).replace("-nan", "nan").split()
    assert said == ["nan", "nan", "nan", "nan", "0", "3", "0", "-0", "nan", "nan", "nan", "8"]


def test_many_threads_get_the_same_answers(tmp_path):
    case = next(case for case in CASES if case.name == "LayerNorm plain float32")
    fm.export.c(case.model, tmp_path / "net.h", scale=case.scale)
    case.rows.astype(np.float32).tofile(tmp_path / "rows.bin")
    text = """#include <pthread.h>
#include <stdio.h>
#include "net.h"
static float x[1000][49], z[8][1000][net_OUTPUTS];
static void *run(void *place) {
    int n;
    for (n = 0; n < 1000; n++) net_logits(x[n], ((float (*)[net_OUTPUTS])place)[n]);
    return NULL;
}
int main(void) {
    pthread_t threads[8];
    FILE *file = fopen("rows.bin", "rb");
    int t, other = 0;
    if (file == NULL || fread(x, sizeof x, 1, file) != 1) return 1;
    for (t = 0; t < 8; t++) pthread_create(threads + t, NULL, run, z[t]);
    for (t = 0; t < 8; t++) pthread_join(threads[t], NULL);
    for (t = 1; t < 8; t++) other += memcmp(z[0], z[t], sizeof z[0]) != 0;
    printf("%d", other);
    return 0;
}
"""
    assert said_by(tmp_path, text, "-pthread") == "0"


@pytest.mark.parametrize(
    ("given", "name"),
    [("digits.h", "digits"), ("my net-2.h", "my_net_2"), ("2nd.h", "model_2nd"), ("größe.h", "groe"), ("数.h", "model"),
     ("_x_.h", "x"), ("a.b.h", "a"), ("int.h", "int"), ("NAME.h", "NAME"), ("n" * 60 + ".h", "n" * 40)],
)  # fmt: skip
def test_a_header_has_a_name_for_every_file(given, name, tmp_path):
    fm.export.c(CASES[0].model, tmp_path / given)
    text = (tmp_path / given).read_text("utf-8")
    assert f"static inline void {name}_logits(const float *x, float *z)" in text


def test_members_are_names_of_c_and_no_two_the_same():
    columns = [
        "age",
        "Age",
        "AGE",
        "int",
        "a b",
        "a-b",
        "a_b",
        "1st",
        "数",
        "字",
        "",
        "linux",
        "NULL",
        "class",
        "NAME_x",
    ]
    found = c_words.members(columns)
    assert found == ["age", "Age", "age_2", "int_", "a_b", "a_b_2", "a_b_3", "column_1st", "column", "column_2",
                     "column_3", "linux_", "null", "class_", "name_x"]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_read_back_as_they_are(dtype, tmp_path):
    tiny, limits = np.finfo(dtype).smallest_subnormal, np.finfo(dtype)
    model = fm.nn.Sequential(fm.nn.Linear(1, 11, dtype=dtype)).eval()
    values = [0.1, 1 / 3, limits.max, limits.tiny, tiny, 16777216, -0.0, 0, 1, limits.eps, -limits.max]
    model[0].weight.data[:, 0], model[0].bias.data[...] = values, 0
    fm.export.c(model, tmp_path / "n.h")
    bits, kind = ("uint32_t", "float") if dtype == np.float32 else ("uint64_t", "double")
    text = f"""#include <inttypes.h>
#include <stdio.h>
#include "n.h"
int main(void) {{
    {bits} b[11];
    int n;
    memcpy(b, n_w0, sizeof b);
    for (n = 0; n < 11; n++) printf("%" PRIu64 " ", (uint64_t)b[n]);
    return (int)(0 * n_predict((const {kind}[]){{0}}));
}}
"""
    expected = np.array(values, dtype).view(f"u{np.dtype(dtype).itemsize}")
    assert said_by(tmp_path, text, "-Wno-unused-function").split() == [str(v) for v in expected]


@pytest.mark.parametrize(
    ("name", "value"),
    [("name", "9"), ("name", "a b"), ("name", ""), ("name", 3), ("name", "n" * 41), ("name", "größe")],
)
def test_a_name_that_c_does_not_have_is_refused(name, value, tmp_path):
    with pytest.raises(ValueError, match=r"export.c: name is .*; it must be at most 40 letters, digits and _"):
        fm.export.c(CASES[0].model, tmp_path / "m.h", name=value)
    fm.export.c(CASES[0].model, tmp_path / "m.h", name="other")
    assert "other_logits" in (tmp_path / "m.h").read_text("utf-8")


@pytest.mark.parametrize(
    ("value", "why"),
    [("a\0b", "has a zero byte"), ("x" * 5000, "has 5,000 bytes"), ("\ud800", "is no text; it has half a character")],
)
def test_texts_that_c_does_not_have_are_refused(value, why, tmp_path):
    model = exported.table_net(np.float32, ["a", "b"])
    model.classes_ = np.array(["a", value], object)
    with pytest.raises(ValueError, match=rf"export.c: the class '.*' {why}"):
        fm.export.c(model, tmp_path / "m.h")
    model.classes_ = None
    columns = [
        dataclasses.replace(c, values=(*c.values, value)) if c.name == "int" else c for c in model.encoding_.columns
    ]
    model.encoding_ = fm.data.Encoding(tuple(columns))
    with pytest.raises(ValueError, match=rf"export.c: a category of column int '.*' {why}"):
        fm.export.c(model, tmp_path / "m.h")
    assert list(tmp_path.iterdir()) == []
