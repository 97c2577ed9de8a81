"""Scripts of the repository, run in this process."""

import runpy
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCRIPTS, EXAMPLES = ROOT / "scripts", ROOT / "examples"


def runner(monkeypatch, capsys, folder=SCRIPTS):
    """What runs a script of a folder with arguments, and gives (exit code, output, errors)."""

    def run(name: str, *arguments: object) -> tuple[int, str, str]:
        path = str(folder / f"{name}.py")
        monkeypatch.setattr(sys, "argv", [path, *map(str, arguments)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        capsys.readouterr()
        try:
            runpy.run_path(path, run_name="__main__")
            code = 0
        except SystemExit as exit:
            code = exit.code or 0
        return (code, *capsys.readouterr())

    return run
