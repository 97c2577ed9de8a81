"""The benchmark's bookkeeping, on made numbers: tables, floors, operation counts, the page. Nothing is measured."""

import contextlib
import copy
import importlib.util
import io
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


def script(name: str) -> ModuleType:
    """A script as a module. It is registered because `dataclass` looks its module up."""
    spec = importlib.util.spec_from_file_location(f"script_{name}", ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


report, rivals, benchmark = script("benchmark_report"), script("rivals"), script("benchmark")
machine, starts, picture = script("benchmark_machine"), script("rivals_start"), script("benchmark_plot")


def case(flops: float = 0.0, **seconds: list[float]) -> dict:
    names = {"fastmlp": "fastmlp", "jax": "JAX", "torch": "PyTorch", "torch1": "PyTorch, 1 thread", "numpy": "NumPy"}
    names |= {"graph": "fastmlp graph", "default": "PyTorch, default Adam", "sklearn": "scikit-learn"}
    timed = {names[name]: taken for name, taken in seconds.items()}
    return {"title": "an epoch: 784-2-10", "flops": flops, "seconds": timed, "notes": {}, "ceiling": [90.0, 100.0]}


def results() -> dict:
    """A run in which every floor that it touches is reached, but for JAX in the small case."""
    growth = {"title": "784-16-10, batch 64", "rows": 10_000, "flops": 1e9, "seconds": [0.02, 0.01]}
    product = {"of": "float32 2 x 3 x 4", "name": "y = x w", "gflops": [90.0, 80.0], "ceiling": [100.0, 99.0]}
    cases = {
        "small": case(27e9, fastmlp=[1.0, 1.5], jax=[2.0, 3.0], torch=[6.0, 6.0], torch1=[5.0, 9.0], sklearn=[]),
        "large": case(68e9, fastmlp=[1.0], jax=[1.25], torch=[2.2]),
        "one row": case(fastmlp=[5e-6], numpy=[8e-6], torch=[2e-5]),
        "warm start": case(fastmlp=[1.0], torch=[2.0])
        | {"more": {"fastmlp": {"accuracy": "95.10 %"}, "PyTorch": {"accuracy": "94.90 %"}}},
        "cold start": case(fastmlp=[11.0]),
    }
    cases["small"]["notes"] = {"scikit-learn": "did not start"}
    return {
        "machine": [["processor", "a made one"], ["cores", "2 of 2"]], "command": "python scripts/benchmark.py",
        "quick": False, "missing": ["JAX"], "control": [0.010, 0.012, 0.020],
        "ceiling": {"float32": {"one": [50.0, 52.0], "all": [100.0, 104.0]}},
        "products": [product], "cases": cases, "growth": {"width": {"width 16": growth}},
    }  # fmt: skip


def reached(measured: dict) -> dict[str, bool | None]:
    return {line[0]: answer for line, answer in report.floors(measured)}


def test_operations_counted_by_hand():
    """784-3-10: y is 784 * 3 + 3 * 10 multiply-adds, dw the same, dx only 3 * 10; two operations each."""
    y, dx = 784 * 3 + 3 * 10, 3 * 10
    assert rivals.Case((3,), 1).flops_a_row == 2 * (y + y + dx)
    assert rivals.Case((), 1).flops_a_row == 2 * (7840 + 7840)
    assert rivals.Case((3,), 1, repeat=5).flops_a_row == 2 * y


def test_the_cases_of_the_driver_are_known_and_batches_add_up():
    listed = rivals.CASES
    assert {*benchmark.EPOCHS, *benchmark.NETS, "one row", "10,000 rows"} <= listed.keys()
    used = [benchmark.PREDICTIONS, benchmark.NARROW, benchmark.BUSY, *benchmark.EPOCHS.values()]
    assert {system for systems in used for system in systems} <= rivals.SYSTEMS.keys()
    assert benchmark.NETS == report.NETS
    known = {*report.RIVALS, *rivals.SYSTEMS, *benchmark.CALLS}
    assert {rival for _, rival, _ in report.RATIOS} - known == {"every rival", "before", "before, 1 thread"}
    assert {name for name, _, _ in report.RATIOS} - listed.keys() == {
        "graph", *report.TABLES, "estimator", "grid", "sparse", "calls", "warm start"}  # fmt: skip
    assert all(sum(one.sizes) == one.rows for one in listed.values())
    assert rivals.changed(listed["small"], ["rows=100", "hidden=8,4"]).sizes == [64, 36]
    assert rivals.changed(listed["small"], ["rows=100", "hidden=8,4"]).widths == (784, 8, 4, 10)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(8.6e-6, "8.60 µs"), (0.0912, "91.2 ms"), (0.0005, "500 µs"), (1.714, "1.71 s"), (1234.5, "1,234 s")],
)
def test_durations(seconds, text):
    assert report.duration(seconds) == text


def test_a_table_lines_its_columns_up_and_is_markdown():
    table = report.Table("T", ["", "best"], [["a", "1"], ["long name", "22.5"]], ["a note"])
    assert table.text() == "T\n             best\n  a             1\n  long name  22.5\n  a note\n"
    assert table.markdown() == "**T**\n\n|  | best |\n| --- | --: |\n| a | 1 |\n| long name | 22.5 |\n\na note\n"


def test_a_case_puts_ours_first_and_gives_both_ratios():
    table = report.case_table("small", results()["cases"]["small"])
    assert table.rows[0] == ["fastmlp", "1.00 s", "1.25 s", "", "", "2"]
    assert table.rows[1] == ["JAX", "2.00 s", "2.50 s", "2.00 x", "2.00 x", "2"]
    assert [row[0] for row in table.rows] == ["fastmlp", "JAX", "PyTorch, 1 thread", "PyTorch"]
    assert table.notes[0].startswith("fastmlp: 27.0 GFLOP/s, 27.0 % of the ceiling")
    assert table.notes[1] == "scikit-learn: did not start"


def test_floors_reached_missed_and_not_measured():
    found = reached(results())
    assert found["small, JAX"] is False  # 2.0 where 2.5 is the floor
    assert found["small, best PyTorch"] is True  # 5.0: the better of one thread and all
    assert found["small, scikit-learn"] is None
    assert found["small, PyTorch DataLoader"] is None
    assert "tiny, JAX" not in found
    assert all(found[name] for name in ("large, JAX", "large, best PyTorch", "large, of the ceiling of all threads"))
    assert all(found[name] for name in ("one row", "one row, every rival", "cold start", "warm start, PyTorch"))
    assert found["products, the slowest, of the ceiling"] is True
    assert "NO" in next(row for row in report.floor_table(results()).rows if row[0] == "small, JAX")


@pytest.mark.parametrize(
    ("name", "seconds", "floor"),
    [
        ("large", {"fastmlp": [1.1], "JAX": [9.0]}, "large, of the ceiling of all threads"),
        ("one row", {"fastmlp": [1e-5], "NumPy": [2e-5]}, "one row"),
        ("one row", {"fastmlp": [9e-6], "NumPy": [8e-6], "JAX": [1.0]}, "one row, every rival"),
        ("cold start", {"fastmlp": [12.0]}, "cold start"),
        ("warm start", {"fastmlp": [2.1], "PyTorch": [2.0]}, "warm start, PyTorch"),
        ("small", {"fastmlp": [1.0], "PyTorch": [9.0], "PyTorch, 1 thread": [4.4]}, "small, best PyTorch"),
        ("small", {"fastmlp": [math.nan], "JAX": [9.0]}, "small, JAX"),
    ],
)
def test_a_floor_that_is_missed_is_seen(name, seconds, floor):
    measured = results()
    measured["cases"][name]["seconds"] = seconds
    assert reached(measured)[floor] is False


def test_slow_products_and_a_slow_graph_are_seen():
    measured = results()
    measured["products"].append(copy.deepcopy(measured["products"][0]) | {"gflops": [84.0]})
    measured["cases"]["graph"] = case(graph=[1.0], default=[0.9])
    assert reached(measured)["products, the slowest, of the ceiling"] is False
    assert reached(measured)["graph, PyTorch, default Adam"] is False


def test_a_run_without_rivals_or_floors():
    measured = results()
    measured["cases"] = {"tiny": case(1e9, fastmlp=[1.0])}
    del measured["products"], measured["ceiling"]
    assert set(reached(measured).values()) == {None}
    assert report.floor_table(measured).notes == []
    measured["cases"], measured["growth"], measured["control"] = {}, {}, []
    assert picture.plot(measured) is None
    assert [table.title for table in report.tables(measured)] == ["Machine"]


def test_the_page_and_the_plot(tmp_path):
    notes = tmp_path / "notes.md"
    notes.write_text("Columns: expected 2 x, gave 1.9 x.\n")
    report.write(results(), tmp_path / "docs", notes)
    text = (tmp_path / "docs" / "benchmark.md").read_text("utf-8")
    assert text.startswith("# Benchmark\n\nMeasured with `python scripts/benchmark.py`.")
    for part in ("JAX is not installed: left out", "benchmark.png", "**Floors**", "| small, JAX | 2.50 x | 2.00 x |",
                 "**Noise", "95.10 %", "**Growth of fastmlp's epoch with width**", "| width 16 |"):  # fmt: skip
        assert part in text, part
    assert text.endswith("## What each change was expected to give, and gave\n\nColumns: expected 2 x, gave 1.9 x.\n")
    assert (tmp_path / "docs" / "benchmark.png").read_bytes().startswith(b"\x89PNG")


def test_a_part_of_the_run_is_printed_alone():
    assert [table.title for table in report.tables(results(), "growth")] == ["Growth of fastmlp's epoch with width"]
    assert [table.title[:10] for table in report.tables(results(), "starts")] == ["warm start", "cold start"]


def test_race_turns_the_order_and_drops_who_is_slow_or_gone(monkeypatch):
    """The clock of the test goes on by what a run is said to take: `slow` has 21 s of it for a figure of 0.5."""
    session, ran, clock = object.__new__(benchmark.Session), [], [0.0]
    session.results, session.longest = {"control": []}, math.inf
    session.machine = type("Machine", (), {"ask": lambda _, what: 1.0})()
    monkeypatch.setattr(benchmark, "perf_counter", lambda: clock[0])
    answers = {"fastmlp": [99.0, 1.0, 1.0], "slow": [0.5], "gone": [1.0, None]}

    def runner(name):
        def run():
            ran.append(name)
            clock[0] += {"fastmlp": 99.0, "slow": 21.0}.get(name, 1.0)
            return answers[name].pop(0)

        return run

    found = session.race({name: runner(name) for name in answers}, 3, 0.0)
    assert ran == ["fastmlp", "slow", "gone", "gone", "fastmlp", "fastmlp"]
    assert found["seconds"] == {"fastmlp": [99.0, 1.0, 1.0], "slow": [0.5], "gone": [1.0]}
    assert session.results["control"] == [1.0] * 3
    assert found["notes"] == {
        "slow": "took 21 s in round 1: no further round",
        "gone": "ended without an answer in round 2",
    }


def test_the_command_line(capsys):
    options = benchmark.parse_arguments(["--quick", "--only", "growth,small", "--out", "/some/where/docs"])
    assert options.only == ["small", "growth"]
    assert benchmark.command(options) == "python scripts/benchmark.py --quick --only small,growth --out docs"
    words = "--only busy --rounds 7 --against 966ec99 --tables /some/where --burners 1 --nice 19"
    options = benchmark.parse_arguments(words.split())
    assert (options.burners, options.nice) == ([1], [19])
    assert benchmark.command(options) == f"python scripts/benchmark.py {words}".replace("/some/where", "FOLDER")
    for wrong in (["--only", "smal"], ["--rounds", "0"], ["--burners", "two"], ["--nice", "0,20"]):
        with pytest.raises(SystemExit):
            benchmark.parse_arguments(wrong)
    assert "smal: the parts are ceiling, products, small" in capsys.readouterr().err


class FakeWorker:
    """Answers with the same seconds; no process, but for what the machine's own would say."""

    made: list[tuple[list[str], dict]] = []

    def __init__(self, words, environment=None):
        self.script, *self.words = Path(words[0]).name, *words[1:]
        self.made.append((self.words, environment))
        self.said = "Adam has no lazy=True here" if "fastmlp, lazy" in self.words else "ready"
        self.said = "" if self.words[:2] == ["scikit-learn", "small"] else self.said
        if self.script == "rivals_sparse.py" and "FASTMLP_TREE" in (environment or {}):
            self.said = "Dataset takes no sparse rows here"
        self.ready, self.more = self.said == "ready", {}
        if self.script == "rivals_sparse.py" and self.ready:
            parts = {"library": 100.0, "arrays": 13.0, "moments": 80.0}
            self.more = {"peak": 700.0} | (parts if "fastmlp" in self.words else {})

    def ask(self, line=""):
        product = {"of": "float32 2 x 3 x 4", "name": "y = x w", "gflops": [90.0], "ceiling": [100.0]}
        answers = {"describe": [["processor", "a made one"]], "ceiling": {"float32": {"one": [5.0], "all": [9.0]}}}
        return (answers | {"products": [product]}).get(line.split()[0], 1.0)

    def __call__(self) -> float:
        return 0.01

    def end(self) -> None: ...


@pytest.fixture
def session(monkeypatch, tmp_path):
    """A quick one against an older build, with nothing behind it, and JAX not installed."""
    monkeypatch.setattr(benchmark, "find_spec", lambda module: None if module == "jax" else module)
    monkeypatch.setattr(benchmark, "Worker", FakeWorker)
    monkeypatch.setattr(FakeWorker, "made", [])
    monkeypatch.setattr(benchmark, "check_out", lambda commit, folder: folder.mkdir())
    monkeypatch.setattr(benchmark, "used_by_others", lambda: 0.5)
    monkeypatch.setattr(benchmark, "PAUSE", 0.0)
    monkeypatch.setattr(benchmark.subprocess, "check_call", lambda words: None)  # the maker of the sparse set
    words = ["--quick", "--against", "966ec99", "--burners", "3", "--nice", "19"]
    with benchmark.Session(benchmark.parse_arguments(words)) as made:
        yield made


def test_every_part_leaves_what_the_report_reads(session, monkeypatch):
    asked: list[tuple[int, int]] = []

    def burning(count, nice):
        asked.append((count, nice))
        return contextlib.nullcontext()

    monkeypatch.setattr(benchmark, "burning", burning)
    assert session.installed(benchmark.PREDICTIONS) == ["fastmlp", "before", "NumPy", *benchmark.FUSED, "scikit-learn"]
    for part in benchmark.PARTS.values():
        part(session)
    measured = json.loads(json.dumps(session.results))
    titles = [table.title.split(":")[0] for table in report.tables(measured)]
    assert titles[:3] == ["Machine", "Ceiling", "Products of matrices, one thread"]
    assert titles[3:12] == [*benchmark.EPOCHS, "graph", "one row", "10,000 rows"]
    beside = [f"{net} beside 3, nice 19" for net in ("small", "tiny")]
    assert titles[12:] == [*benchmark.NETS, *benchmark.TABLES, "estimator", "grid", "sparse", *beside, "calls",
                           "warm start",
                           *(f"Growth of fastmlp's epoch with {group}" for group in measured["growth"]),
                           "Noise", "Floors"]  # fmt: skip
    assert {"small beside 3, nice 19", "tiny beside 3, nice 19", "cold start"} <= measured["cases"].keys()
    assert set(asked) == {(0, 0), (3, 19)}
    assert measured["missing"] == ["JAX"]
    assert ["cores that others used then", "0.50"] in measured["machine"]
    assert measured["cases"]["small"]["notes"] == {"scikit-learn": "did not start"}
    assert measured["cases"]["sparse"]["notes"] == {
        "before": "Dataset takes no sparse rows here", "fastmlp, lazy": "Adam has no lazy=True here"}  # fmt: skip
    assert measured["cases"]["tiny"]["title"] == "an epoch: 784-32-10, batch 32, 6,000 rows"
    assert measured["cases"]["table 8-16-3"]["title"] == "a step: 8-16-3, batch 32, a made table, 20,000 rows"
    assert set(measured["growth"]["rows"]) == {"rows 1000", "rows 4000"}
    found = reached(measured)
    assert found["small, JAX"] is None
    assert found["small, before"] is False  # equal, where 1.5 is the floor
    for name in ("graph, PyTorch, default Adam", "standardised, before", "calls, fastmlp, epoch of a long call"):
        assert found[name] is True
    assert found["table 8-16-3, 2 threads and 1 thread"] is True
    assert found["tiny beside 3, nice 19, the better of one thread and two"] is True
    assert found["tiny beside 3, nice 19, best PyTorch"] is False
    assert found["cold start"] is None
    assert found["sparse, memory"] is False  # 700 - 100 - 13 - 80 = 507 MB
    table = next(table for table in report.tables(measured) if table.title.startswith("sparse"))
    assert table.head[-1] == "peak memory"
    assert [row[-1] for row in table.rows] == ["700 MB"] * len(table.rows)
    assert table.notes == [
        "before: Dataset takes no sparse rows here",
        "fastmlp, lazy: Adam has no lazy=True here",
        "fastmlp: 700 MB are 100 of the imported library, 13 of the arrays, 80 of the moments and 507 more",
        "not quiet: others used 0.5 cores before it",
    ]
    page = report.page(measured, "", ["benchmark.png"])
    assert "one row" in page
    assert "before: fastmlp at 966ec99" in page


def test_each_side_has_a_tree_and_kernels_of_its_own(session):
    benchmark.measure_case(session, "tiny", ("fastmlp", "PyTorch"))
    sides = {words[0]: environment for words, environment in FakeWorker.made[-3:]}
    systems = [words[0] for words, _ in FakeWorker.made[-3:]]
    assert systems == ["fastmlp", "fastmlp", "PyTorch"]
    assert all(words[1:] == ["tiny", "rows=6000"] for words, _ in FakeWorker.made[-3:])
    new, old = (environment for words, environment in FakeWorker.made[-3:-1])
    assert new["NUMBA_CACHE_DIR"] != old["NUMBA_CACHE_DIR"]
    assert "FASTMLP_TREE" not in new
    assert old["FASTMLP_TREE"] == str(session.folder / "tree")
    assert "FASTMLP_TREE" not in sides["PyTorch"]
    assert list(session.results["cases"]["tiny"]["seconds"]) == ["fastmlp", "before", "PyTorch"]


@pytest.mark.skipif(shutil.which("git") is None, reason="git makes the tree of a commit")
def test_an_older_build_is_another_tree(tmp_path, monkeypatch):
    made = tmp_path / "made"
    made.mkdir()
    git = ["git", "-C", str(made), "-c", "user.name=a", "-c", "user.email=a@b"]
    for text, words in (("old", ["init", "-q"]), ("old", ["add", "."]), ("new", ["commit", "-q", "-m", "one"])):
        subprocess.check_call([*git, *words])
        (made / "a.py").write_text(text)
    monkeypatch.setattr(benchmark, "ROOT", made)
    benchmark.check_out("HEAD", tmp_path / "tree")
    assert (tmp_path / "tree" / "a.py").read_text() == "old"
    with pytest.raises(SystemExit, match="no-such-commit is no commit that git knows here"):
        benchmark.check_out("no-such-commit", tmp_path / "other")


def test_burners_burn_and_end():
    with benchmark.burning(2, 19) as burners:
        assert [os.getpriority(os.PRIO_PROCESS, one.pid) >= 0 for one in burners] == [True, True]
        assert [one.poll() for one in burners] == [None, None]
    assert all(one.poll() is not None for one in burners)


def test_a_worker_answers_with_a_number_or_with_more():
    says = "print('ready', flush=True); input(); print(0.5, flush=True); input(); "
    says += """print('{"seconds": 2.0, "peak": 7.0}', flush=True); input()"""
    worker = benchmark.Worker(["-c", says])
    assert worker.ready
    assert [worker(), worker.more, worker(), worker.more] == [0.5, {}, 2.0, {"peak": 7.0}]
    assert worker() is None  # it has ended
    worker.end()
    late = benchmark.Worker(["-c", "print('there is no such thing')"])
    assert (late.ready, late.said) == (False, "there is no such thing")
    late.end()


# --- the page of several runs, and the pictures -----------------------------------------------------------------------


def test_several_runs_of_one_machine_are_one():
    first, second = results(), results()
    second["command"], second["control"] = "python scripts/benchmark.py --only tiny", [0.5]
    second["cases"] = {"tiny": case(1e9, fastmlp=[1.0]), "large": case(fastmlp=[9.0])}
    first["machine"].append(["date", "today"])
    second["machine"].append(["date", "tomorrow"])
    whole = report.merged([first, second])
    assert whole["cases"].keys() == first["cases"].keys() | {"tiny"}
    assert whole["cases"]["large"]["seconds"]["fastmlp"] == [9.0]
    assert whole["command"] == "python scripts/benchmark.py; python scripts/benchmark.py --only tiny"
    assert whole["control"] == [*first["control"], 0.5]
    assert whole["machine"] == [["processor", "a made one"], ["cores", "2 of 2"], ["date", "today; tomorrow"]]
    second["machine"][0] = ["processor", "another"]
    with pytest.raises(ValueError, match="they must be of one"):
        report.merged([first, second])


def test_the_picture_shows_ratios_to_ours():
    one = case(50e9, fastmlp=[1.0, 2.0], jax=[3.0, 9.0], torch=[], torch1=[4.0])
    assert picture.ratios("small", one) == {
        "JAX": (3.0, 4.0),
        "PyTorch, 1 thread": (4.0, 4.0 / 1.5),
        "ceiling": (0.5, 0.5),
    }
    assert picture.ratios("small", case(fastmlp=[], jax=[1.0])) == {}
    assert "ceiling" not in picture.ratios("small beside 1, nice 0", one)
    growth = {f"threads {n}": {"title": "a net", "seconds": [2.0 / n, 9.0]} for n in (1, 2, 4)}
    measured = results() | {"growth": {"threads": growth, "width": {"width 1": {"title": "", "seconds": [1.0]}}}}
    assert picture.gains(measured) == {"a net": {1: 1.0, 2: 2.0, 4: 4.0}}
    assert picture.gains(measured | {"growth": {"threads": dict(list(growth.items())[:2])}}) == {}
    axes = picture.plot(measured).axes[0]
    assert [text.get_text().split("\n")[0] for text in axes.get_yticklabels()] == [
        "small",
        "large",
        "one row",
        "warm start",
    ]
    assert "a made one" in axes.get_title()
    assert list(axes.patches) == []  # no bars
    assert "a made one" in picture.threads_plot(measured).axes[0].get_title()


@pytest.mark.parametrize(("name", "rows"), [("one row", 1), ("10,000 rows", 20)])
def test_the_prediction_by_hand_runs(name, rows, monkeypatch):
    pixels = np.random.default_rng(0).integers(0, 256, (rows, 784), np.uint8)
    monkeypatch.setattr(rivals, "images", lambda rows: (pixels, np.zeros(rows, np.int64)))
    one = rivals.changed(rivals.CASES[name], [f"rows={rows}", "repeat=2"])
    assert rivals.floats(one, pixels).shape == ((784,) if rows == 1 else (20, 784))
    rivals.SYSTEMS["NumPy"](one)()


def test_a_worker_answers_each_line_with_the_mean_of_a_run(monkeypatch, capsys):
    ran: list[int] = []
    monkeypatch.setattr(rivals, "RUN_SECONDS", 0.02)
    monkeypatch.setitem(rivals.SYSTEMS, "made", lambda case: lambda: (ran.append(1), time.sleep(0.005)))
    for case_name, least in (("small", 5), ("10,000 rows", 3)):
        ran.clear()
        monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n"))
        rivals.work("made", rivals.CASES[case_name])
        ready, *answers = capsys.readouterr().out.split()
        assert ready == "ready"
        assert all(0 < float(answer) < 1 for answer in answers)
        assert len(answers) == 2
        assert len(ran) >= least if case_name == "small" else len(ran) == least  # the first run is not timed


def test_each_product_is_called_often_enough_to_time(monkeypatch):
    called: dict[str, list] = {}
    for name in ("product", "product_dw", "product_dx"):
        monkeypatch.setattr(
            machine.kernels, name, lambda *arguments, name=name: called.setdefault(name, []).append(arguments)
        )
    jobs, flops = machine.product_jobs("float32", 64, 784, 128)
    for job in jobs.values():
        job()
    assert flops == pytest.approx(2e9, rel=0.1)
    assert all(len(calls) * 2 * 64 * 784 * 128 == flops for calls in called.values())
    shapes = {name: [getattr(item, "shape", item) for item in calls[0]] for name, calls in called.items()}
    weight = machine.kernels.packed_shape(128, 784, "float32")
    tiles = machine.kernels.tiles("float32").shape
    assert shapes["product"] == [(64, 784), weight, (64, 128), tiles, 0, 128]
    assert shapes["product_dw"] == [(64, 784), (64, 128), weight, tiles, 0, 128]
    assert shapes["product_dx"][:2] == [(64, 128), weight]
    assert shapes["product_dx"][3:] == [(64, 784), tiles, 0, 784]


def test_a_process_is_timed_and_its_accuracy_read(capfd):
    answer = starts.start(["-c", "print('test accuracy 12.50 %')"])
    assert answer["seconds"] > 0
    assert answer["accuracy"] == "12.50 %"
    assert starts.start(["-c", "raise SystemExit('no such thing')"]) is None
    assert "no such thing" in capfd.readouterr().err
    cold = starts.start(["-c", "import os; print('test accuracy', len(os.environ['NUMBA_CACHE_DIR']), '%')"], cold=True)
    assert cold["accuracy"] != ""
