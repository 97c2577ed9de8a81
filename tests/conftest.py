"""Which tests stay together where several processes share them: those of a file, and whoever asks for one study."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file is made by one process, which makes its fixtures once; a test may name another group itself."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
