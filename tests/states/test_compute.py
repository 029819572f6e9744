import json

import mrcfile
import numpy as np
import pytest

from covaria.errors import InvalidInput, MissingFile
from covaria.maps import read_volume
from covaria.states import StateGroup, compute_state_groups, compute_states, preview_volume
from covaria.states.compute import targets_together
from covaria.states.run import load_run
from covaria.testing import MemoryContext
from covaria.tree import Tree


def test_groups_write_every_documented_file(finished, tmp_path, capsys):
    latents = finished.simulated.latents
    groups = [
        StateGroup(tmp_path / "kmeans", "center", latents[[1, 5]]),
        StateGroup(tmp_path / "traj000", "state", latents[[3]]),
    ]
    context = MemoryContext()
    paths = compute_state_groups(finished.tree, 1, groups, context=context)
    assert [[p.name for p in group] for group in paths] == [["center000.mrc", "center001.mrc"], ["state000.mrc"]]
    pixel = finished.simulated.images.pixel_size_angstrom
    for folder, name in (("kmeans", "center000"), ("kmeans", "center001"), ("traj000", "state000")):
        for suffix in ("", "_half1_unfil", "_half2_unfil", "_unfil"):
            file = tmp_path / folder / f"{name}{suffix}.mrc"
            volume, found = read_volume(file)
            assert volume.shape == (24, 24, 24) and found == pytest.approx(pixel, rel=1e-5) and volume.std() > 0
            assert mrcfile.validate(file), capsys.readouterr().out
        diagnostics = tmp_path / folder / "diagnostics" / name
        assert read_volume(diagnostics / "local_resolution.mrc")[0].min() >= 2 * pixel * 0.99
        distances = np.loadtxt(diagnostics / "heterogeneity_distances.txt")
        assert np.flatnonzero(np.isnan(distances)).tolist() == finished.excluded.tolist()
        assert np.loadtxt(diagnostics / "latent_coords.txt", ndmin=2).shape == (1, 1)
        assert np.load(diagnostics / "chosen_bandwidth.npy").ndim == 4
        params = json.loads((diagnostics / "params.json").read_text())
        assert sum(c["share_in_mask"] for c in params["candidates"]) == pytest.approx(1, abs=1e-3)
        assert [c["images"] for c in params["candidates"]][-1] == 398
    halves = [read_volume(tmp_path / "kmeans" / f"center000_half{h}_unfil.mrc")[0] for h in (1, 2)]
    assert read_volume(tmp_path / "kmeans" / "center000_unfil.mrc")[0] == pytest.approx(
        np.mean(halves, axis=0), abs=1e-5
    )
    assert ("states", 398, 398) in context.steps and ("state volumes", 3, 3) in context.steps


def test_less_memory_means_more_passes_and_the_same_volumes(finished, tmp_path):
    targets = finished.simulated.latents[[0, 4, 7]]
    ample, tight = MemoryContext(), MemoryContext(memory_bytes=300 << 20)
    run = load_run(finished.tree, 1, MemoryContext(memory_bytes=1 << 30))
    assert targets_together(run, ample.memory_bytes) >= 3
    assert targets_together(run, tight.memory_bytes) == 1
    compute_states(finished.tree, 1, targets, tmp_path / "ample", context=ample)
    compute_states(finished.tree, 1, targets, tmp_path / "tight", context=tight)
    assert max(total for step, _, total in tight.steps if step == "states") == 3 * 398
    for index in range(3):
        one, other = (read_volume(tmp_path / kind / f"center{index:03d}.mrc")[0] for kind in ("ample", "tight"))
        assert np.linalg.norm(one - other) < 1e-4 * np.linalg.norm(other)


def test_a_positive_b_factor_sharpens(finished, tmp_path):
    target = finished.simulated.latents[[2]]
    compute_states(finished.tree, 1, target, tmp_path / "plain", context=MemoryContext())
    compute_states(finished.tree, 1, target, tmp_path / "sharp", b_factor=500.0, context=MemoryContext())
    plain, sharp = (np.abs(np.fft.rfftn(read_volume(tmp_path / k / "center000.mrc")[0])) for k in ("plain", "sharp"))
    assert sharp[0, 0, 8] / plain[0, 0, 8] == pytest.approx(
        np.exp(500 * (8 / (24 * finished.simulated.images.pixel_size_angstrom)) ** 2 / 4), rel=1e-3
    )


def test_preview_is_the_linear_model(finished):
    model = finished.simulated.model
    volume = preview_volume(finished.tree, np.array([[2.0]]))[0]
    mean = 0.5 * (model.halves[0].mean + model.halves[1].mean)
    assert volume == pytest.approx(mean + 2 * model.halves[0].components[0], abs=1e-5)


def test_what_cannot_be_used_is_refused(finished, tmp_path):
    context = MemoryContext()
    with pytest.raises(InvalidInput, match="zdim 4 was not computed; stored: 1"):
        compute_states(finished.tree, 4, np.zeros((1, 4)), tmp_path, context=context)
    with pytest.raises(InvalidInput, match=r"shape \(1, 2\)"):
        compute_states(finished.tree, 1, np.zeros((1, 2)), tmp_path, context=context)
    with pytest.raises(InvalidInput, match="latent point 2"):
        compute_states(finished.tree, 1, np.array([[0.0], [np.nan]]), tmp_path, context=context)
    with pytest.raises((MissingFile, InvalidInput)):
        compute_states(Tree(tmp_path / "nothing"), 1, np.zeros((1, 1)), tmp_path, context=context)
