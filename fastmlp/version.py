"""Which fastmlp this is: the version that pyproject.toml and CHANGELOG.md name, and files say who wrote them by."""

__version__ = "0.1.0"
