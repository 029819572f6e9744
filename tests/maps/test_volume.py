import mrcfile
import numpy as np
import pytest

from covaria.errors import InvalidInput, MissingFile
from covaria.maps import read_volume, write_volume


def test_round_trip_keeps_values_and_pixel_size_and_validates(tmp_path, capsys):
    volume = np.random.default_rng(0).normal(size=(8, 8, 8))
    path = tmp_path / "map.mrc"
    write_volume(path, volume, 1.25)
    again, pixel_size = read_volume(path)
    assert np.array_equal(again, volume.astype(np.float32))
    assert again.dtype == np.float32
    assert pixel_size == pytest.approx(1.25)
    assert mrcfile.validate(path), capsys.readouterr().out
    with mrcfile.open(path) as file:
        assert file.header.dmean == pytest.approx(volume.mean(), abs=1e-6)
        assert file.header.rms == pytest.approx(volume.std(), rel=1e-5)
        assert file.is_volume() and file.header.mode == 2
    assert [p.name for p in tmp_path.iterdir()] == ["map.mrc"]


def test_equal_maps_are_equal_files(tmp_path):
    for name in ("a.mrc", "b.mrc"):
        write_volume(tmp_path / name, np.ones((4, 4, 4)), 2.0)
    assert (tmp_path / "a.mrc").read_bytes() == (tmp_path / "b.mrc").read_bytes()


def test_refuses_what_is_not_a_volume(tmp_path):
    with pytest.raises(ValueError, match="three axes"):
        write_volume(tmp_path / "x.mrc", np.zeros((4, 4)), 1.0)
    with pytest.raises(ValueError, match="positive"):
        write_volume(tmp_path / "x.mrc", np.zeros((4, 4, 4)), 0.0)
    with pytest.raises(MissingFile, match="is not there"):
        read_volume(tmp_path / "absent.mrc")
    (tmp_path / "text.mrc").write_text("not a map")
    with pytest.raises(InvalidInput, match="not a readable MRC"):
        read_volume(tmp_path / "text.mrc")
    mrcfile.write(tmp_path / "flat.mrc", np.zeros((2, 4, 4), np.float32))
    with pytest.raises(InvalidInput, match="2 x 4 x 4"):
        read_volume(tmp_path / "flat.mrc")
    with pytest.warns(RuntimeWarning, match="NaN"):
        mrcfile.write(tmp_path / "nan.mrc", np.full((4, 4, 4), np.nan, np.float32))
    with pytest.raises(InvalidInput, match="not finite"):
        read_volume(tmp_path / "nan.mrc")


def test_reads_a_map_made_elsewhere(shared_data):
    volume, pixel_size = read_volume(shared_data("mrcfile", "EMD-3197.map"))
    assert volume.shape == (20, 20, 20)
    assert pixel_size == pytest.approx(11.4, rel=1e-3)


@pytest.mark.parametrize(
    ("stored", "stamp", "flags", "expected"),
    [
        ([-128, -127], 1146047817, 1, [0, 1]),
        ([0, -1], 1146047817, 0, [0, 255]),
        ([0, 1], None, 0, [0, 1]),
        ([-100, 100], None, 0, [156, 100]),
    ],
    ids=["IMOD signed", "IMOD unsigned", "signed", "unsigned that wraps"],
)
def test_a_volume_of_bytes(tmp_path, stored, stamp, flags, expected):
    """By IMOD's stamp and flag; without it signed, unless values lie in two heaps at the ends of the range."""
    volume = np.resize(np.array(stored, np.int8), (8, 8, 8))
    with mrcfile.new(tmp_path / "bytes.mrc") as file:
        file.set_data(volume)
        file.voxel_size = 2.0
    if stamp is not None:
        with (tmp_path / "bytes.mrc").open("r+b") as raw:
            raw.seek(152)
            raw.write(np.array([stamp, flags], "<i4").tobytes())
    np.testing.assert_array_equal(read_volume(tmp_path / "bytes.mrc")[0], np.resize(expected, (8, 8, 8)))


def test_a_header_that_promises_more_than_there_can_be_is_refused(tmp_path):
    with mrcfile.new(tmp_path / "a.mrc") as file:
        file.set_data(np.zeros((8, 8, 8), np.float32))
    raw = bytearray((tmp_path / "a.mrc").read_bytes())
    raw[8:12] = b"\x03\xff\xff\x7f"
    (tmp_path / "a.mrc").write_bytes(bytes(raw))
    with pytest.raises(InvalidInput, match="not a readable MRC volume"):
        read_volume(tmp_path / "a.mrc")
