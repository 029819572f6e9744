"""sbatch, squeue, sinfo and scontrol as far as Covaria calls them: jobs are processes, kept in a folder.

`fake_slurm.install(folder)` writes the commands there; put it on PATH. A job runs at once where `most` are not running.
"""

from __future__ import annotations

import stat
import sys
from pathlib import Path

PROGRAM = """#!{python}
import json, os, re, subprocess, sys
from pathlib import Path
HERE = Path({folder!r})
BOOK = HERE / "jobs.json"
jobs = json.loads(BOOK.read_text()) if BOOK.exists() else []
name, words = Path(sys.argv[0]).name, sys.argv[1:]
options = dict(re.match("--([A-Za-z-]+)(?:=(.*))?$", word).groups() for word in words if word.startswith("--"))
if name == "sbatch":
    if options.get("partition", "main") != "main":
        sys.exit("sbatch: error: invalid partition specified: " + options["partition"])
    script = sys.stdin.read()
    number = len(jobs) + 1
    state = "PENDING" if (HERE / "full").exists() else "RUNNING"
    reason = "PartitionTimeLimit" if options.get("time", "1").startswith("99-") else "Resources"
    job = {{"number": number, "name": options["job-name"], "state": state, "reason": reason, "options": words}}
    BOOK.write_text(json.dumps([*jobs, job]))
    (HERE / f"{{number}}.sh").write_text(script)
    if reason != "Resources":
        jobs = [*jobs, job | {{"state": "PENDING"}}]
        BOOK.write_text(json.dumps(jobs))
    elif state == "RUNNING" and (HERE / "run").exists():
        log = open(HERE / f"{{number}}.out", "ab")
        subprocess.Popen(["sh", HERE / f"{{number}}.sh"], stdout=log, stderr=log, start_new_session=True,
                         env=os.environ | {{"SLURM_JOB_ID": str(number)}})
    print(number)
elif name == "squeue":
    for job in jobs:
        if job["name"] == options["name"]:
            reason = job["reason"] if job["state"] == "PENDING" else "None"
            nodes = "n1" if job["state"] == "RUNNING" else ""
            print(job["number"], job["state"], "2030-01-01T00:00:00", nodes, reason, sep="|")
elif name == "sinfo":
    print("n1", (HERE / "n1").read_text() if (HERE / "n1").exists() else "mixed")
elif name == "scontrol":
    (HERE / "requeued").write_text(" ".join(words))
"""


def install(folder: Path) -> Path:
    """The commands in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("sbatch", "squeue", "sinfo", "scontrol"):
        path = folder / name
        path.write_text(PROGRAM.format(python=sys.executable, folder=str(folder)))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return folder
