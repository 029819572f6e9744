"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest_plugins = ["covaria_shapes", "covaria_broker", "covaria_site"]
"""tests/plugins: a real RabbitMQ, and workers on it. Nothing starts until a test asks."""

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one folder stay in one process: what they share is made once."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(item.path.relative_to(REPOSITORY / "tests").parts[0]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[pytest.TestReport]:
    """What a test printed may hold half a character, of a file's name: between processes only text travels."""
    report: pytest.TestReport = yield  # type: ignore[misc,assignment]
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


def shared_data(*parts: str) -> Path:
    """The reference data folder (or a path in it); skips the test where the data are not on this machine.

    Found by COVARIA_SHARED_DATA, else as shared/data beside the checkout.
    """
    root = Path(os.environ.get("COVARIA_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    path = root.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"reference data not on this machine: {path} (set COVARIA_SHARED_DATA)")
    return path


@pytest.fixture(name="shared_data", scope="session")
def shared_data_fixture():
    """`shared_data("cryodrgn", "toy_projections.star")` -> path, or a skip with the reason."""
    return shared_data
