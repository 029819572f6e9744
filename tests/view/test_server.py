"""What the server lets in, and what it says of what it cannot show."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import starfile
from covaria_pages import Client

from covaria.estimation.populations.intervals import Populations
from covaria.explorer.run_files import RunFiles
from covaria.opening import Roots
from covaria.results.populations import write_populations
from covaria.selection.apply import selected
from covaria.selection.handoff import source_of
from covaria.selection.model import Polygon
from covaria.tree import AnalysisTree, Tree, record
from covaria.view import subsets
from covaria.view.access import Access

Serving = Callable[..., Client]
REGION = {"kind": "polygon", "columns": ["z1", "z2"], "points": [[-3, -3], [0.1, -3], [0.3, 3], [-3, 3]]}


@pytest.fixture(scope="module")
def client(serving: Serving, finished: Tree) -> Client:
    return serving(finished.out.parent).enter()


def test_without_the_token_nothing_is_shown(serving: Serving, finished: Tree) -> None:
    stranger = serving(finished.out.parent)
    status, headers, body = stranger.ask("/")
    assert status == 403 and b"needs its token" in body
    assert "script-src 'self'" in headers["content-security-policy"]
    for path in ("/runs", "/file?run=first&name=run.json", "/assets/page.js", "/events", "/?token=wrong"):
        assert stranger.ask(path)[0] == 403, path
    stranger.cookie = "covaria_view=guessed"
    assert stranger.ask("/runs")[0] == 403


def test_the_token_opens_one_session_and_two_windows_share_it(serving: Serving, finished: Tree) -> None:
    first = serving(finished.out.parent).enter()
    assert first.ask("/runs")[0] == 200
    other = Client(first.port, first.token)
    assert other.ask(f"/?token={first.token}")[0] == 403
    window = Client(first.port, first.token, cookie=first.cookie)
    assert window.ask("/")[0] == 200
    assert window.ask(f"/?token={first.token}")[0] == 303, "the address opened again in the same browser"


def test_a_foreign_page_or_name_is_refused(client: Client) -> None:
    assert client.ask("/count?run=first", "POST", REGION, x_covaria="")[0] == 403
    assert client.ask("/runs", Host="evil.example")[0] == 403
    status, headers, _ = client.ask("/")
    assert status == 200
    assert headers["x-frame-options"] == "DENY" and headers["referrer-policy"] == "no-referrer"
    assert headers["x-content-type-options"] == "nosniff"


def test_behind_a_base_path_and_with_a_standing_token(serving: Serving, finished: Tree) -> None:
    one = serving(finished.out, Access("/covaria", standing="standing-token")).enter()
    assert "Path=/covaria/" in one.ask("/?token=standing-token")[1].get("set-cookie", "")
    status, _, body = one.ask("/runs")
    assert status == 200 and [card["name"] for card in json.loads(body)["runs"]] == ["."]


def test_ranges_and_unchanged_files(client: Client, finished: Tree) -> None:
    path = "/file?run=first&name=columns/z1.u16"
    _, headers, whole = client.ask(path)
    status, part, body = client.ask(path, Range="bytes=4-9")
    assert status == 206 and body == whole[4:10] and part["content-range"] == f"bytes 4-9/{len(whole)}"
    assert client.ask(path, Range="bytes=100000-")[0] == 416
    assert client.ask(path, If_None_Match=headers["etag"])[0] == 304


def test_a_region_becomes_the_particles_of_the_source(client: Client, finished: Tree) -> None:
    run = RunFiles(finished.out)
    keep = selected(Polygon(**{k: v for k, v in REGION.items() if k != "kind"}), run.table)
    assert 20 < keep.sum() < len(keep) - 20
    assert json.loads(client.ask("/count?run=first", "POST", REGION)[2]) == {"count": int(keep.sum())}
    status, headers, body = client.ask("/subset?run=first", "POST", REGION)
    assert status == 200 and headers["x-particles"] == str(keep.sum())
    source = starfile.read(run.request.ingest.particles)["particles"]
    target = finished.out.parent / "subset.star"
    target.write_bytes(body)
    found = starfile.read(target)["particles"]
    target.unlink()
    assert found["rlnImageName"].tolist() == source["rlnImageName"][keep].tolist()


def test_a_source_that_changes_is_not_taken_from_memory(serving: Serving, copied: Tree, tmp_path: Path) -> None:
    one = serving(copied.out.parent).enter()
    assert one.ask("/subset?run=copy", "POST", REGION)[0] == 200
    run = RunFiles(copied.out)
    source = run.request.ingest.particles
    before, times = source.read_bytes(), source.stat()
    try:
        source.write_bytes(before.replace(b"data_particles", b"# changed\ndata_particles"))
        status, _, body = one.ask("/subset?run=copy", "POST", REGION)
        assert status == 422 and "has changed since the run" in json.loads(body)["message"]
    finally:
        source.write_bytes(before)
        os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert one.ask("/subset?run=copy", "POST", REGION)[0] == 200


def test_the_source_is_summed_and_read_once(copied: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    run, summed = RunFiles(copied.out), []
    monkeypatch.setattr(subsets, "source_of", lambda *a, **k: summed.append(a) or source_of(*a, **k))
    ready = subsets.prepare(run)
    assert ready is subsets.prepare(run) and len(summed) == 1
    source = run.request.ingest.particles
    times = source.stat()
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    assert subsets.prepare(run) is not ready and len(summed) == 2
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))


def test_a_selection_comes_back_as_the_command_reads_it(client: Client, tmp_path: Path, finished: Tree) -> None:
    from typer.testing import CliRunner

    from covaria.cli import application

    (tmp_path / "selection.json").write_bytes(client.ask("/selection?run=first", "POST", REGION)[2])
    asked = ["subset", str(finished.out), "--selection", str(tmp_path / "selection.json"), "-o", str(tmp_path / "new")]
    done = CliRunner().invoke(application(), asked)
    assert done.exit_code == 0, done.output
    assert (tmp_path / "new" / "particles.star").read_bytes() == client.ask("/subset?run=first", "POST", REGION)[2]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{}", "is not what is asked for"),
        ({"kind": "where", "expression": "nothing > 1"}, "no column 'nothing'"),
        ({"kind": "where", "expression": "__import__('os')"}, ""),
        ({"kind": "polygon", "columns": ["z1", "z2"], "points": [[0, 0], [1, 1], [1, 0], [0, 1]]}, "cross"),
        ({"kind": "box", "columns": ["z1"], "low": [90], "high": [91]}, "no particle is selected"),
    ],
)  # fmt: skip
def test_a_bad_selection_is_told(client: Client, body: object, words: str) -> None:
    status, _, answer = client.ask("/subset?run=first", "POST", body)
    told = json.loads(answer)
    assert status == 422 and words in told["message"], told


def test_a_million_rows_are_too_many_only_for_this_run(client: Client) -> None:
    rows = {"kind": "rows", "rows": list(range(1_000_000))}
    status, _, answer = client.ask("/count?run=first", "POST", rows)
    assert status == 422 and "row 999999 of 300" in json.loads(answer)["message"]
    status, _, answer = client.ask("/count?run=first", "POST", b" " * (65 << 20))
    assert status == 422 and "64 MB" in json.loads(answer)["message"]


@pytest.mark.parametrize("run", ["..", "../..", "/etc", "first/../../..", "nowhere", "first/model"])
def test_a_run_outside_or_none_at_all(client: Client, run: str) -> None:
    status, _, body = client.ask(f"/file?run={run}&name=run.json")
    assert status in (403, 422) and json.loads(body)["hint"], body


@pytest.mark.parametrize("name", ["../second.mrc", "/etc/passwd", "job.json", "output/volumes/../../../x.mrc"])
def test_a_map_outside_the_run(client: Client, name: str) -> None:
    assert client.ask(f"/map?run=first&name={name}")[0] == 403
    assert client.ask("/map?run=first&name=output/volumes/mean.mrc")[0] == 200


def test_the_mean_s_picture_is_a_file_of_the_run(serving: Serving, copied: Tree, tmp_path: Path) -> None:
    one = serving(copied.out.parent).enter()
    assert one.ask("/picture?run=copy")[0] == 404
    picture = copied.local_resolution_plot
    picture.parent.mkdir(parents=True, exist_ok=True)
    picture.write_bytes(b"picture")
    assert one.ask("/picture?run=copy")[::2] == (200, b"picture")
    assert json.loads(one.ask("/runs")[2])["runs"][0]["picture"]
    picture.unlink()
    picture.symlink_to("/etc/passwd")
    assert one.ask("/picture?run=copy")[0] == 422


def test_assets_lead_nowhere_else(client: Client) -> None:
    for path in ("/assets/..%2f..%2froutes.py", "/assets/..", "/assets/nothing.js"):
        assert client.ask(path)[0] == 404


def test_a_link_out_of_the_folder_is_refused(serving: Serving, copied: Tree, tmp_path: Path) -> None:
    secret = tmp_path / "secret.npy"
    shutil.copy(copied.contrasts(3), secret)
    copied.contrasts(3).unlink()
    copied.contrasts(3).symlink_to(secret)
    one = serving(copied.out.parent, roots=Roots.of([copied.out.parent])).enter()
    status, _, body = one.ask("/file?run=copy&name=run.json")
    assert status == 403 and "leads out" in json.loads(body)["message"]


def test_what_is_not_whole_says_what_is_the_matter(serving: Serving, copied: Tree, tmp_path: Path) -> None:
    """Unfinished, failed, foreign, half-deleted: each is a card that says so, none hides the others."""
    runs = copied.out.parent
    for name in ("failed", "young", "halved", "broken"):
        shutil.copytree(copied.out, runs / name)
    record.write_stage_state(Tree(runs / "failed"), "analysis", {
        "status": "failed", "error": {"type": "NoRoom", "message": "the disk is full", "hint": "make room"},
    })  # fmt: skip
    record.refresh(Tree(runs / "failed"))
    young = Tree(runs / "young")
    for path in (young.model, young.density, young.analysis(3), young.output):
        shutil.rmtree(path)
    for stage in ("reconstruction", "density", "analysis"):
        young.stage_state(stage).unlink()
        young.stage_state_copy(stage).unlink()
        young.stage_findings(stage).unlink(missing_ok=True)
    record.refresh(young)
    AnalysisTree(runs / "halved" / "analysis_3").kmeans_result.write_bytes(b"no pickle")
    (runs / "halved" / "output" / "volumes" / "eigen_pos0000.mrc").unlink()
    for book in ("request.json", "request.json.copy"):
        (runs / "broken" / ".covaria" / book).write_text("{")
    (runs / "broken" / "job.json").unlink()
    (runs / "foreign").mkdir()
    (runs / "foreign" / "notes.txt").write_text("mine")
    one = serving(runs).enter()
    cards = {card["name"]: card for card in json.loads(one.ask("/runs")[2])["runs"]}
    assert set(cards) == {"copy", "failed", "young", "halved", "broken"}
    assert cards["failed"]["status"] == "failed" and "disk is full" in cards["failed"]["error"]
    assert cards["young"]["status"] == "queued" and cards["young"]["headline"] == "Nothing is known yet."
    assert cards["broken"]["status"] == "unreadable" and "request.json" in cards["broken"]["error"]

    def described(name: str) -> dict[str, object]:
        status, _, body = one.ask(f"/file?run={name}&name=run.json")
        assert status == 200, body
        return json.loads(body)

    assert described("failed")["error"]["hint"] == "make room"
    assert described("young")["columns"] == [] and described("young")["maps"] is None
    halved = described("halved")
    assert {one["part"] for one in halved["problems"]} >= {"maps", "states"}
    assert any("eigen_pos0000" in one["message"] for one in halved["problems"])
    assert one.ask("/file?run=broken&name=run.json")[0] == 422


def test_events_tell_what_changed(serving: Serving, copied: Tree) -> None:
    import http.client

    one = serving(copied.out.parent).enter()
    connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=20)
    connection.request("GET", "/events", headers={"Cookie": one.cookie})
    answer = connection.getresponse()
    assert answer.getheader("content-type", "").startswith("text/event-stream")

    def told() -> list[dict[str, object]]:
        assert answer.readline() == b"event: state\n"
        line = answer.readline()
        answer.readline()
        return json.loads(line.removeprefix(b"data: "))["runs"]

    assert told()[0]["status"] == "succeeded"
    record.write_stage_state(copied, "analysis", {"status": "running"})
    assert told()[0]["status"] == "running"
    connection.close()


def test_a_stopping_server_ends_its_streams(serving: Serving, finished: Tree) -> None:
    """Else the server's log has a traceback for each page that is open when it is ended."""
    import http.client

    one = serving(finished.out.parent).enter()
    connection = http.client.HTTPConnection("127.0.0.1", one.port, timeout=20)
    connection.request("GET", "/events", headers={"Cookie": one.cookie})
    answer = connection.getresponse()
    assert answer.readline() == b"event: state\n"
    one.stop()
    answer.read()  # raises where no last piece says that it is the last
    connection.close()


def test_the_order_is_the_same_for_every_server(finished: Tree) -> None:
    rows = [RunFiles(finished.out).read("rows.u32") for _ in range(2)]
    assert rows[0] == rows[1] and np.frombuffer(rows[0], "<u4").size == 300


def test_a_damaged_analysis_takes_its_own_columns_away_alone(copied: Tree) -> None:
    AnalysisTree(copied.analysis(3)).kmeans_result.write_bytes(b"no pickle")
    described = RunFiles(copied.out).described
    names = [column["name"] for column in described["columns"]]
    assert {"z1", "z2", "contrast", "z1_z2_correlation"} < set(names) and "cluster" not in names
    assert {"column cluster", "states"} <= {one["part"] for one in described["problems"]}


def test_the_source_is_read_before_somebody_selects(serving: Serving, copied: Tree, tmp_path: Path) -> None:
    one = serving(copied.out.parent).enter()
    status, _, body = one.ask("/ready?run=copy")
    assert status == 200 and json.loads(body) == {"ready": True}
    run = RunFiles(copied.out)
    source = shutil.copy(run.request.ingest.particles, tmp_path / "gone.star")
    ingest = run.request.ingest.model_copy(update={"particles": Path(source)})
    request = run.request.model_copy(update={"ingest": ingest})
    record.write_request(
        copied,
        job_id="j",
        command="run",
        command_line="covaria run",
        stages=tuple(run.asked["stages"]),
        request=request,
    )
    Path(source).unlink()
    status, _, body = serving(copied.out.parent).enter().ask("/ready?run=copy")
    assert status == 404 and b"not there any more" in body


def test_populations_are_those_that_the_run_estimated(copied: Tree) -> None:
    assert all(state["population"] is None for state in RunFiles(copied.out).described["states"])
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    found = Populations(shares, shares - 0.05, shares + 0.05, np.ones(4, bool))
    write_populations(AnalysisTree(copied.analysis(3)), np.full(4, 75), found)
    assert RunFiles(copied.out).described["states"][1]["population"] == [0.3, 0.25, 0.35]
