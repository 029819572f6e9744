"""The chart through Helm's own engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml
from deployment import CHART, EXAMPLES, Document, example_values
from helm_python import Chart


@pytest.fixture(scope="session")
def chart() -> Iterator[Chart]:
    loaded = Chart.load(CHART)
    yield loaded
    loaded.close()


@pytest.fixture(scope="session")
def rendered(chart: Chart) -> dict[str, list[Document]]:
    """Example -> every document that Helm would send to the cluster."""
    found = {}
    for name in EXAMPLES:
        templates = chart.render(example_values(name), name="covaria", namespace="em")
        found[name] = [
            document
            for path, text in templates.items()
            if path.endswith(".yaml")
            for document in yaml.safe_load_all(text)
            if document
        ]
    return found


@pytest.fixture(params=EXAMPLES)
def documents(request: pytest.FixtureRequest, rendered: dict[str, list[Document]]) -> list[Document]:
    """The documents of one example, one example a test."""
    return rendered[request.param]
