"""Two runs compared, and what keeps a run from being made again."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from covaria.cli import application
from covaria.errors import CovariaError, InvalidInput, MissingFile, RefusedOutput
from covaria.maps import read_volume, write_volume
from covaria.operations.one_machine import run_stages
from covaria.operations.replay import Compared, compare, least_fsc, recorded
from covaria.request.model import IngestOptions, ReconstructionOptions, Request
from covaria.running import bookkeeping
from covaria.stage import Context, Job
from covaria.testing import some_parameters
from covaria.tree import AnalysisTree, Tree
from covaria.tree.artifacts import KMeansResult, write_kmeans

BOX, N = 16, 2000


class Stages:
    """A small run's results from its seed; `noise` and `moved` are what another machine would change."""

    noise = 0.0
    moved = 0

    def load(self, name: str):
        return getattr(self, name, lambda job, context: None)

    def reconstruction(self, job: Job, context: Context) -> None:
        from covaria.results.parameters import write_parameters

        tree, rng = Tree(job.request.out, context.pen), np.random.default_rng(job.request.seed)
        with tree.staging("reconstruction") as folder:
            made = Tree(folder)
            made.volumes.mkdir(parents=True)
            made.zdim(1).mkdir(parents=True)
            for half in (1, 2):
                volume = rng.normal(size=(BOX,) * 3)
                write_volume(
                    made.mean_half(half), volume + self.noise * np.random.default_rng(9).normal(size=volume.shape), 4.0
                )
            write_parameters(made, some_parameters(BOX))
            np.save(made.latent_coords(1), rng.normal(size=(N, 1)).astype(np.float32))
            tree.publish(made.output, tree.output)
            tree.publish(made.model, tree.model)

    def analysis(self, job: Job, context: Context) -> None:
        tree = Tree(job.request.out, context.pen)
        labels = np.random.default_rng(1).integers(0, 3, N)
        labels[: self.moved] = (labels[: self.moved] + 1) % 3
        with tree.staging("analysis") as folder:
            made = AnalysisTree(folder)
            made.data.mkdir()
            write_kmeans(made, KMeansResult(np.zeros((3, 1)), labels))
            tree.publish(folder, tree.analysis(job.request.analysis_zdim), AnalysisTree)


@pytest.fixture(name="stages")
def stages_fixture(monkeypatch: pytest.MonkeyPatch) -> Stages:
    made = Stages()
    monkeypatch.setattr(bookkeeping, "load_stage", made.load)
    return made


@pytest.fixture(name="done")
def done_fixture(stages: Stages, tmp_path: Path) -> Tree:
    particles = tmp_path / "particles.star"
    particles.write_text("data_\n")
    options = ReconstructionOptions(zdim=(1,))
    request = Request(out=tmp_path / "out", ingest=IngestOptions(particles=particles), reconstruction=options, seed=4)
    console = Console(file=io.StringIO())
    return run_stages(request, command="run", command_line="covaria run", device="cpu", console=console)


def replay(tree: Tree, folder: Path) -> tuple[int, str]:
    result = CliRunner().invoke(application(), ["replay", str(tree.out), "-o", str(folder), "--device", "cpu"])
    if isinstance(result.exception, CovariaError):
        raise result.exception
    return result.exit_code, result.output


def test_a_run_is_made_again_and_found_the_same(done: Tree, tmp_path: Path) -> None:
    code, said = replay(done, tmp_path / "again")
    assert code == 0 and "4 of 4 results are the same" in said, said
    assert "NOT" not in said and read_volume(Tree(tmp_path / "again").mean_half(1))[0].shape == (BOX,) * 3


@pytest.mark.parametrize(("noise", "moved", "wrong"), [(1e-4, 1, 0), (0.1, 0, 2), (0.0, 3, 1)])
def test_what_differs_by_more_than_rounding_is_named(
    done: Tree, stages: Stages, tmp_path: Path, noise: float, moved: int, wrong: int
) -> None:
    """A label in 2,000 and noise at 1e-4 of the signal pass; three labels and a tenth do not."""
    stages.noise, stages.moved = noise, moved
    code, said = replay(done, tmp_path / "again")
    assert code == (1 if wrong else 0) and f"{4 - wrong} of 4 results are the same" in said, said
    if moved == 3:
        assert "NOT THE SAME  analysis_1/data/kmeans_result.pkl: share of equal labels 0.99850" in said


def test_a_changed_byte_is_named_before_anything_runs(done: Tree, tmp_path: Path) -> None:
    path = done.mean_half(2)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match="is not as the run wrote it") as caught:
        replay(done, tmp_path / "again")
    assert "mean_half2_unfil.mrc" in str(caught.value) and not (tmp_path / "again").exists()


def test_inputs_that_changed_or_went_are_named(done: Tree, tmp_path: Path) -> None:
    source = tmp_path / "particles.star"
    source.write_text("data_x\n")
    with pytest.raises(InvalidInput, match="has changed since the run"):
        recorded(done)
    source.unlink()
    with pytest.raises(MissingFile, match=r"particles\.star"):
        recorded(done)
    with pytest.raises(InvalidInput, match="not an output directory"):
        recorded(Tree(tmp_path))


def test_what_only_one_run_has_does_not_agree(done: Tree, tmp_path: Path) -> None:
    found = list(compare(recorded(done), Tree(tmp_path / "nothing")))
    assert len(found) == 4 and not any(one.equal for one in found)
    with pytest.raises(RefusedOutput, match="inside the run"):
        replay(done, done.out / "inside")


def test_the_least_shell_decides() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=(BOX,) * 3)
    assert least_fsc(first, first) == 1.0
    transform = np.fft.rfftn(first)
    transform[0, 0, 5] += 400
    second = np.fft.irfftn(transform)
    assert least_fsc(first, second) < 0.9, "one shell is enough"
    assert Compared("x", "y", 0.9990, 0.999).equal and not Compared("x", "y", 0.9989, 0.999).equal
