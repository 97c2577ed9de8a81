"""Print the oldest release of each dependency that pyproject.toml allows, as pip's --constraint takes them."""

import re
import tomllib
from pathlib import Path

EXTRAS = ("sklearn", "fetch")  # of sklearn, the package follows parameters, tags and checks


def pins(project: str) -> list[str]:
    """`name==release` for each `name>=release` among the dependencies in the text of a pyproject.toml, and of EXTRAS.

    Error: ValueError for a dependency without a lower bound.
    """
    found = []
    told = tomllib.loads(project)["project"]
    extras = told.get("optional-dependencies", {})
    for line in [*told["dependencies"], *(line for name in EXTRAS for line in extras.get(name, ()))]:
        match = re.fullmatch(r"([\w.-]+)>=([\d.]+)", line)
        if not match:
            raise ValueError(f"oldest: {line!r} has no lower bound; it must be name>=release")
        found.append(f"{match[1]}=={match[2]}")
    return found


if __name__ == "__main__":
    print("\n".join(pins((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text(encoding="utf-8"))))
