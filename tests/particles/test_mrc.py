"""MRC headers and pixels: every mode, both byte orders, compression, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import struct

import mrcfile
import numpy as np
import pytest

from covaria.errors import InvalidInput
from covaria.particles.stacks.images import StackImages, read_ahead
from covaria.particles.stacks.mrc import MODES, map_images, parse_header, read_header, write_header


def stack_of(path, images, order="<", mode=2, extended=0, stamp=b"\x44\x44\x00\x00"):
    header = np.frombuffer(write_header(len(images), images.shape[-1], 2.0, (0, 0, 0, 0)), "<i4")
    raw = bytearray(header.astype(order + "i4").tobytes())
    raw[12:16] = struct.pack(order + "i", mode)
    raw[92:96] = struct.pack(order + "i", extended)
    raw[208:216] = b"MAP " + stamp
    path.write_bytes(bytes(raw) + bytes(extended) + images.astype(order + MODES[mode]).tobytes())
    return path


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("stamp", [b"\x44\x44\x00\x00", b"\x11\x11\x00\x00", b"\x00\x00\x00\x00"])
def test_modes_byte_orders_and_stamps(tmp_path, order, mode, stamp):
    """A stamp may be wrong or missing: the size and the mode say which order it is."""
    low, high = (-120, 120) if mode == 0 else (0, 60000) if mode == 6 else (-2000, 2000)
    images = np.random.default_rng(0).integers(low, high, (3, 48, 48))
    header = read_header(stack_of(tmp_path / "a.mrcs", images, order, mode, 160, stamp))
    assert (header.count, header.height, header.width) == (3, 48, 48)
    assert header.pixel_size_angstrom == pytest.approx(2.0)
    np.testing.assert_array_equal(map_images(header), images.astype(MODES[mode]))


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_compressed_stacks(tmp_path, suffix, compress):
    images = np.random.default_rng(1).normal(size=(4, 32, 32)).astype(np.float32)
    data = stack_of(tmp_path / "a.mrcs", images).read_bytes()
    path = tmp_path / f"b.mrcs{suffix}"
    path.write_bytes(compress(data))
    np.testing.assert_array_equal(map_images(read_header(path)), images)
    path.write_bytes(compress(data[:-100]))
    with pytest.raises(InvalidInput, match="cut off"):
        map_images(read_header(path))
    path.write_bytes(compress(data)[:-40])
    with pytest.raises(InvalidInput, match="decompressed"):
        map_images(read_header(path))
    path.write_bytes(b"not compressed at all" * 100)
    with pytest.raises(InvalidInput, match="decompressed"):
        read_header(path)
    huge = bytearray(data)
    huge[8:12] = struct.pack("<i", 2**30)
    path.write_bytes(compress(bytes(huge)))
    with pytest.raises(InvalidInput, match=r"unpacks to|cut off"):
        map_images(read_header(path))


@pytest.mark.parametrize(
    ("place", "value", "complaint"),
    [
        (12, 4, "Fourier"), (12, 101, "4-bit"), (12, 77, "no sense"), (0, -5, "no sense"), (0, 0, "no sense"),
        (4, 2**20, "no sense"), (8, -1, "no sense"), (8, 2**30, "cut off"), (92, -4, "extended"),
        (92, 2**20, "cut off"), (64, 3, "axis order"),
    ],
)  # fmt: skip
def test_headers_that_make_no_sense(tmp_path, place, value, complaint):
    path = stack_of(tmp_path / "a.mrcs", np.zeros((2, 32, 32)))
    raw = bytearray(path.read_bytes())
    raw[place : place + 4] = struct.pack("<i", value)
    path.write_bytes(bytes(raw))
    with pytest.raises(InvalidInput, match=complaint):
        read_header(path)


def test_short_files(tmp_path):
    with pytest.raises(InvalidInput, match="1024"):
        parse_header(b"x" * 1000, tmp_path)


def test_what_we_write_is_valid(tmp_path, capsys):
    images = np.random.default_rng(2).normal(size=(5, 32, 32)).astype(np.float32)
    statistics = (float(images.min()), float(images.max()), float(images.mean()), float(images.std()))
    path = tmp_path / "a.mrcs"
    path.write_bytes(write_header(5, 32, 1.25, statistics) + images.tobytes())
    assert mrcfile.validate(path), capsys.readouterr().out
    with mrcfile.open(path) as stack:
        assert stack.is_image_stack() and stack.voxel_size.x == pytest.approx(1.25)
        np.testing.assert_array_equal(stack.data, images)


# ---- many stacks as one


@pytest.fixture
def scattered(tmp_path):
    """40 images in 37 stacks (more than are kept open), rows shuffled."""
    rng = np.random.default_rng(3)
    images = rng.normal(size=(40, 16, 16)).astype(np.float32)
    sizes = [1] * 34 + [2, 2, 2]
    paths, file, index, first = [], [], [], 0
    for number, size in enumerate(sizes):
        paths.append(stack_of(tmp_path / f"{number}.mrcs", images[first : first + size]))
        file += [number] * size
        index += range(size)
        first += size
    order = rng.permutation(40)
    return StackImages(tuple(paths), np.array(file)[order], np.array(index)[order], 16), images[order]


@pytest.mark.parametrize("rows", [[], [3], range(40), [5, 5, 1, 39, 0], list(range(39, -1, -1)), np.arange(40) % 7])
def test_rows_come_in_the_order_asked_for(scattered, rows):
    stack, images = scattered
    rows = np.array(list(rows), dtype=np.int64)
    np.testing.assert_array_equal(stack.read(rows), images[rows])
    np.testing.assert_array_equal(stack.take(rows).read(np.arange(len(rows))), images[rows])


def test_reading_ahead_keeps_the_order_and_passes_errors_on(scattered):
    stack, images = scattered
    batches = [np.arange(0, 15), np.arange(15, 40), np.array([2])]
    for rows, batch in zip(batches, read_ahead(stack, batches), strict=True):
        np.testing.assert_array_equal(batch, images[rows])
    with pytest.raises(IndexError):
        list(read_ahead(stack, [np.array([400])]))


def test_a_stack_that_changed_is_noticed(scattered):
    stack, _ = scattered
    stack_of(stack.paths[0], np.zeros((1, 32, 32)))
    with pytest.raises(InvalidInput, match="32 x 32"):
        stack.read(np.arange(40))
