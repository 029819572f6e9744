"""A real Slurm for the slow tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import real_slurm


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[real_slurm.Cluster]:
    """Two nodes of a real Slurm, and a simulated set of 2,000 images in `set`. Skips where Slurm is not installed."""
    with real_slurm.with_covaria(tmp_path_factory.mktemp("nodes")) as found:
        made = found.covaria("simulate", "set", "-n", "2000", "-D", "24", "--states", "homogeneous")
        assert made.returncode == 0, made.stderr
        yield found
