"""docs/extend.md: its code runs, on the engine, and does what the page says."""

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "extend.md"
CHECKS = """
from fastmlp.running import plan

assert not plan.obstacle(fm.nn.Sequential(fm.nn.Linear(20, 32), Softsign(), fm.nn.Linear(32, 3)))
model = fm.nn.Sequential(fm.nn.Linear(20, 32), Softsign(), fm.nn.Linear(32, 1))


class OnTheGraph(fm.nn.Module):
    def __init__(self, inside):
        super().__init__()
        self.inside = inside

    def forward(self, x):
        return self.inside(x)


def weights(wrap):
    fm.manual_seed(1)
    model = fm.nn.Sequential(fm.nn.Linear(20, 32), Softsign(), fm.nn.Linear(32, 1))
    optimizer = SignDescent(model.parameters(), lr=0.01)
    assert not plan.obstacle(model, optimizer)
    fm.fit(wrap(model), fm.Dataset(x, prices), loss=PseudoHuberLoss(), optimizer=optimizer, epochs=2, progress=False)
    return [array.tobytes() for array in model.state_dict().values()]


assert weights(lambda model: model) == weights(OnTheGraph), "engine and graph differ"
assert "SoftsignBackward0" in str(fm.explain(model(fm.Tensor(x[:2])).sum()))
print("the page is right")
"""


def test_the_code_of_the_page_runs_on_the_engine_and_gives_the_bits_of_the_graph(tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    assert len(blocks) == 4
    file = tmp_path / "mine.py"  # Numba keeps the machine code of a file's functions
    file.write_text("\n\n".join([*blocks, CHECKS]), "utf-8")
    run = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("5 of 5 gradients agree") == 2
    assert run.stdout.endswith("the page is right\n")
