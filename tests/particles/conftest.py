"""Small data sets, written on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from covaria.particles.stacks.mrc import write_header

OPTICS = {
    "_rlnOpticsGroup": "1",
    "_rlnOpticsGroupName": "one",
    "_rlnVoltage": "300.0",
    "_rlnSphericalAberration": "2.7",
    "_rlnAmplitudeContrast": "0.1",
    "_rlnImagePixelSize": "1.5",
    "_rlnImageSize": "16",
    "_rlnImageDimensionality": "2",
}


def loop(columns: dict[str, list[str]]) -> str:
    labels = "".join(f"{label} #{number}\n" for number, label in enumerate(columns, start=1))
    return "loop_\n" + labels + "".join(" ".join(row) + "\n" for row in zip(*columns.values(), strict=True))


class Workshop:
    """Makes a STAR file and its stack; `optics` and `particles` change or (None) remove columns."""

    def __init__(self, folder: Path, count: int = 6, box: int = 16) -> None:
        self.folder, self.count, self.box = folder, count, box
        self.images = np.random.default_rng(5).normal(size=(count, box, box)).astype(np.float32)
        rows = range(count)
        self.particles = {
            "_rlnImageName": [f"{row + 1:06d}@stack.mrcs" for row in rows],
            "_rlnAngleRot": [f"{10.0 * row:.4f}" for row in rows],
            "_rlnAngleTilt": [f"{20.0 + row:.4f}" for row in rows],
            "_rlnAnglePsi": [f"{-5.0 * row:.4f}" for row in rows],
            "_rlnOriginXAngst": [f"{0.3 * row:.4f}" for row in rows],
            "_rlnOriginYAngst": [f"{-0.2 * row:.4f}" for row in rows],
            "_rlnDefocusU": [f"{15000.0 + row:.2f}" for row in rows],
            "_rlnDefocusV": [f"{14800.0 + row:.2f}" for row in rows],
            "_rlnDefocusAngle": ["20.0" for _ in rows],
            "_rlnOpticsGroup": ["1" for _ in rows],
        }

    def star(self, optics: dict | None = None, particles: dict | None = None, *, groups: list[dict] | None = None,
             stack: bool = True, name: str = "particles.star") -> Path:  # fmt: skip
        table = {**OPTICS, **(optics or {})}
        rows = [{**table, **group} for group in groups or [{}]]
        labels = [label for label, value in table.items() if value is not None]
        labels += [label for group in groups or [] for label in group if label not in labels]
        body = {**self.particles, **(particles or {})}
        body = {label: values for label, values in body.items() if values is not None}
        text = "data_optics\n\n" + loop(
            {label: [row.get(label, "0") for row in rows] for label in dict.fromkeys(labels)}
        )
        text += "\n\ndata_particles\n\n" + loop(body) + "\n"
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if stack:
            self.write_stack(self.folder / "stack.mrcs", self.images)
        return path

    def cs_table(self, more: dict[str, np.ndarray] | None = None) -> np.ndarray:
        """A cryoSPARC refinement of the stack's images, and `more` columns (N, ...); None removes one."""
        count = len(self.images)
        rng = np.random.default_rng(0)
        full = np.ones(count, np.float32)
        columns = {
            "uid": rng.permutation(1000)[:count].astype("u8"),
            "blob/path": np.full(count, b">stack.mrcs"),
            "blob/idx": np.arange(count, dtype="u4"),
            "blob/shape": np.full((count, 2), self.images.shape[-1], "u4"),
            "blob/psize_A": 1.5 * full,
            "blob/sign": full,
            "ctf/df1_A": 15000 * full, "ctf/df2_A": 14000 * full, "ctf/df_angle_rad": 0.3 * full,
            "ctf/accel_kv": 300 * full, "ctf/cs_mm": 2.7 * full, "ctf/amp_contrast": 0.1 * full,
            "ctf/phase_shift_rad": 0 * full,
            "alignments3D/pose": rng.normal(size=(count, 3)).astype("f4"),
            "alignments3D/shift": rng.normal(size=(count, 2)).astype("f4"),
            "alignments3D/psize_A": 1.5 * full,
            **(more or {}),
        }  # fmt: skip
        columns = {name: values for name, values in columns.items() if values is not None}
        table = np.zeros(count, [(name, values.dtype, values.shape[1:]) for name, values in columns.items()])
        for name, values in columns.items():
            table[name] = values
        return table

    def cs(self, table: np.ndarray, name: str = "particles.cs") -> Path:
        """Write a .cs and the stack."""
        self.write_stack(self.folder / "stack.mrcs", self.images)
        with (self.folder / name).open("wb") as file:
            np.save(file, table)
        return self.folder / name

    @staticmethod
    def write_stack(path: Path, images: np.ndarray, pixel_size: float = 1.5) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        statistics = (
            float(images.min()),
            float(images.max()),
            float(images.mean()),
            float(images.std(dtype=np.float64)),
        )
        header = write_header(len(images), images.shape[-1], pixel_size, statistics)
        path.write_bytes(header + images.astype("<f4").tobytes())
        return path


@pytest.fixture
def workshop(tmp_path) -> Workshop:
    return Workshop(tmp_path)
