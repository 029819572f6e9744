"""What all tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from typing_extensions import override
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["covaria_shapes", "covaria_broker", "covaria_site"]
"""tests/plugins: a real RabbitMQ, and workers on it. Nothing starts until a test asks."""

REPOSITORY = Path(__file__).resolve().parent.parent


class ByFolder(LoadScopeScheduling):
    """Tests of one folder stay in one process: what they share is made once."""

    @override
    def _split_scope(self, nodeid: str) -> str:
        return nodeid.split("/")[1]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFolder:
    """Not by xdist's marks, which this pytest does not let it write into the tests' names."""
    return ByFolder(config, log)


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
