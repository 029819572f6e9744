"""MRC headers and pixels: what kind of numbers lie where in a stack.

Formats: MRC2014 (Cheng et al. 2015) and what programs made of it: missing or wrong machine stamps, mz of 1, extended
headers, modes 0 (bytes), 1, 2, 6 and 12, gzip and bzip2.
"""

from __future__ import annotations

import bz2
import gzip
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from covaria.errors import InvalidInput
from covaria.maps.eight_bit import stamped_kind
from covaria.opening import ANYWHERE, Roots

HEADER_BYTES = 1024
MODES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
BYTES = 0
OTHER_MODES = {3: "complex 16-bit", 4: "complex 32-bit (a Fourier transform)", 16: "RGB", 101: "4-bit"}
COMPRESSED = (".gz", ".bz2")
MAX_SIDE = 65536


@dataclass(frozen=True)
class StackHeader:
    """What one MRC file holds: `count` images of `height` x `width` numbers of `dtype`, beginning at byte `offset`."""

    path: Path
    count: int
    height: int
    width: int
    dtype: np.dtype
    offset: int
    pixel_size_angstrom: float
    """From the header's cell; 0 where the header does not say."""
    value_offset: float = 0.0
    """To be added to the numbers: IMOD's signed bytes lie 128 below their values."""
    unstamped_bytes: bool = False
    """Bytes of which nothing says whether they are signed; they are taken as signed."""
    roots: Roots = ANYWHERE
    """Beneath which folders the file is opened."""

    def as_unsigned(self) -> StackHeader:
        """The same with bytes of unknown kind taken as unsigned."""
        return replace(self, dtype=np.dtype("u1"), unstamped_bytes=False) if self.unstamped_bytes else self

    @property
    def image_bytes(self) -> int:
        return self.height * self.width * self.dtype.itemsize


@contextmanager
def open_stack(path: Path, roots: Roots = ANYWHERE) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed where its name ends in .gz or .bz2; opened beneath `roots`."""
    suffix = path.suffix.lower()
    with roots.open(path) as file:
        if suffix == ".gz":
            with gzip.GzipFile(fileobj=file) as unpacked:
                yield cast(IO[bytes], unpacked)
        elif suffix == ".bz2":
            with bz2.BZ2File(file) as unpacked:
                yield cast(IO[bytes], unpacked)
        else:
            yield file


def is_compressed(path: Path) -> bool:
    return path.suffix.lower() in COMPRESSED


def read_header(path: Path, roots: Roots = ANYWHERE) -> StackHeader:
    """Read and check one stack's header; the stack is opened beneath `roots`, now and later.

    Raises InvalidInput for what is no readable stack or one that is cut off.
    """
    try:
        with open_stack(path, roots) as file:
            raw = file.read(HEADER_BYTES)
    except (OSError, EOFError, ValueError) as error:
        if not is_compressed(path):
            raise
        raise InvalidInput(f"cannot be decompressed ({error})", file=path, hint="copy the file again") from None
    header = replace(parse_header(raw, path), roots=roots)
    if not is_compressed(path):
        size = path.stat().st_size
        needed = header.offset + header.count * header.image_bytes
        if size < needed:
            whole = max(0, size - header.offset) // header.image_bytes if header.image_bytes else 0
            raise InvalidInput(
                f"is cut off: {header.count} images of {header.width} x {header.height} need {needed} bytes, "
                f"but it has {size} ({whole} whole images)",
                file=path,
                hint="copy or extract the stack again",
            )
    return header


def parse_header(raw: bytes, path: Path) -> StackHeader:
    """The header's meaning, in whichever byte order makes sense. Raises InvalidInput."""
    if len(raw) < HEADER_BYTES:
        raise InvalidInput(
            f"has {len(raw)} bytes, an MRC header has {HEADER_BYTES}", file=path, hint="not an MRC stack"
        )
    order = _byte_order(raw)
    if order is None:
        width, height, count, mode = (int(value) for value in np.frombuffer(raw, "<i4", 4))
        known = OTHER_MODES.get(mode)
        if known and 0 < width <= MAX_SIDE:
            raise InvalidInput(
                f"MRC mode {mode} ({known}) holds no real images", file=path, hint="write it as mode 2 (float32)"
            )
        raise InvalidInput(
            f"the header makes no sense in either byte order (nx {width}, ny {height}, nz {count}, mode {mode})",
            file=path,
            hint="not an MRC stack, or damaged",
        )
    width, height, count, mode = (int(value) for value in np.frombuffer(raw, order + "i4", 4))
    extended = int(np.frombuffer(raw, order + "i4", 1, 92)[0])
    if extended < 0 or extended > 2**31 - 1 - HEADER_BYTES:
        raise InvalidInput(f"the extended header cannot have {extended} bytes", file=path, hint="the header is damaged")
    axes = tuple(int(value) for value in np.frombuffer(raw, order + "i4", 3, 64))
    if axes not in ((1, 2, 3), (0, 0, 0)):
        raise InvalidInput(
            f"axis order {axes} (MAPC, MAPR, MAPS) is not that of images", file=path, hint="images are stored as 1 2 3"
        )
    stamped = stamped_kind(raw, order) if mode == BYTES else None
    return StackHeader(
        path=path,
        count=count,
        height=height,
        width=width,
        dtype=np.dtype(order + (stamped.dtype if stamped else MODES[mode])),
        offset=HEADER_BYTES + extended,
        pixel_size_angstrom=_pixel_size(raw, order),
        value_offset=stamped.offset if stamped else 0.0,
        unstamped_bytes=mode == BYTES and stamped is None,
    )


def _byte_order(raw: bytes) -> str | None:
    """The order in which size and mode make sense; the machine stamp decides only where both do."""
    possible = []
    for order in "<>":
        width, height, count, mode = (int(value) for value in np.frombuffer(raw, order + "i4", 4))
        if mode in MODES and 0 < width <= MAX_SIDE and 0 < height <= MAX_SIDE and 0 <= count < 2**31:
            possible.append(order)
    if len(possible) == 2:
        return ">" if raw[212:214] == b"\x11\x11" else "<"
    return possible[0] if possible else None


def _pixel_size(raw: bytes, order: str) -> float:
    cell_x = float(np.frombuffer(raw, order + "f4", 1, 40)[0])
    sampling_x = int(np.frombuffer(raw, order + "i4", 1, 28)[0])
    if sampling_x <= 0 or not np.isfinite(cell_x) or cell_x <= 0:
        return 0.0
    return cell_x / sampling_x


def first_bytes(header: StackHeader, images: int) -> NDArray[np.uint8]:
    """The bytes of the first `images` images, as they are in the file."""
    with open_stack(header.path, header.roots) as file:
        _skip(file, header.offset)
        return np.frombuffer(file.read(min(images, header.count) * header.image_bytes), np.uint8)


def map_images(header: StackHeader) -> NDArray[Any]:
    """The stack's images as a read-only array (count, height, width) on disk, in the file's own numbers.

    A compressed stack is unpacked into an unnamed temporary file, no further than its header says.
    Raises InvalidInput when it holds less, or when there is no room.
    """
    shape = (header.count, header.height, header.width)
    if not is_compressed(header.path):
        with header.roots.open(header.path) as file:
            return np.memmap(file, header.dtype, "r", header.offset, shape)
    needed = header.count * header.image_bytes
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if needed > free:
        raise InvalidInput(
            f"unpacks to {needed} bytes, {tempfile.gettempdir()} has {free}",
            file=header.path,
            hint="decompress it beforehand",
        )
    with tempfile.TemporaryFile() as scratch:
        try:
            with open_stack(header.path, header.roots) as file:
                _skip(file, header.offset)
                copied = _copy(file, scratch, needed)
        except (OSError, EOFError, ValueError) as error:
            raise InvalidInput(
                f"cannot be decompressed ({error})", file=header.path, hint="copy the file again"
            ) from None
        if copied < needed:
            raise InvalidInput(
                f"is cut off: {needed} bytes of images expected after decompression, {copied} found",
                file=header.path,
                hint="copy the file again",
            )
        scratch.flush()
        return np.memmap(scratch, header.dtype, "r", 0, shape)


def _skip(file: IO[bytes], count: int) -> None:
    _copy(file, None, count)


def _copy(source: IO[bytes], target: IO[bytes] | None, count: int, chunk: int = 1 << 20) -> int:
    done = 0
    while done < count:
        block = source.read(min(chunk, count - done))
        if not block:
            break
        if target is not None:
            target.write(block)
        done += len(block)
    return done


def write_header(
    count: int, box: int, pixel_size_angstrom: float, statistics: tuple[float, float, float, float]
) -> bytes:
    """An MRC2014 header for a float32 little-endian image stack; statistics are minimum, maximum, mean, rms."""
    header = np.zeros(256, "<i4")
    floats = header.view("<f4")
    header[0:4] = box, box, count, 2
    header[7:10] = box, box, count  # mx, my, mz: an image stack has ispg 0 and mz = nz
    floats[10:13] = box * pixel_size_angstrom, box * pixel_size_angstrom, count * pixel_size_angstrom
    floats[13:16] = 90.0
    header[16:19] = 1, 2, 3
    floats[19:22] = statistics[:3]
    header[27] = 20140  # nversion
    raw = bytearray(header.tobytes())
    raw[208:212] = b"MAP "
    raw[212:216] = b"\x44\x44\x00\x00"
    raw[216:220] = np.float32(statistics[3]).astype("<f4").tobytes()
    label = b"written by covaria"
    raw[220:224] = np.int32(1).astype("<i4").tobytes()
    raw[224 : 224 + 80] = label.ljust(80)
    assert len(raw) == HEADER_BYTES
    return bytes(raw)
