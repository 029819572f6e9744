"""Stages for tests of the services: quick, and told by a JSON file (in place of the particles) how to behave.

{"steps": 3, "step_s": 0.0, "fail": {"<stage>": {"times": 1, "error": "OSError", "errno": 28}}, "<stage>": {"steps": 1}}
"until": "name" makes step "until_step" (the last) wait for a file of that name beside OUT.
Every executed step and every publish leaves one line in OUT/.covaria/trail.<stage>.
"""

import ctypes
import json
import os
import time
from pathlib import Path

import numpy as np

from covaria.errors import InvalidInput, MissingFile

FILES = {
    "ingest": "downsampled/particles.16.star",
    "reconstruction": "model/params.pkl",
    "density": "density/data/l_curve.json",
    "analysis": "output/volumes/mean.mrc",
}


def _run(stage, job, context):
    tree = context.tree
    plan = json.loads(Path(job.request.ingest.particles).read_text())
    plan |= plan.get(stage, {})
    context.log.info("memory %d", context.memory_bytes)
    steps = int(plan.get("steps", 2))
    for step in range(steps):
        name = f"step{step}"
        if context.checkpoints.load(name) is None:
            for _ in range(10):
                time.sleep(plan.get("step_s", 0.0) / 10)
                context.progress(name, 0, 1, "images")
            context.checkpoints.save(name, {"value": np.arange(step)})
            _trail(tree, stage, f"{name} {context.memory_bytes}")
            if "until" in plan and step == plan.get("until_step", steps - 1) - 1:
                _wait_for(tree.out.parent / plan["until"], context)
        context.progress(name, 1, 1, "images")
    _fail(tree, stage, plan.get("fail", {}).get(stage))
    time.sleep(plan.get("linger_s", 0.0))
    context.log.info("about to publish")
    with tree.staging(stage) as staged:
        result = Path(staged) / FILES[stage]
        result.parent.mkdir(parents=True)
        result.write_text(f"{job.job_id} {stage}\n")
        tree.publish(staged / Path(FILES[stage]).parts[0], tree.out / Path(FILES[stage]).parts[0])
    _trail(tree, stage, "published")


def _wait_for(path, context):
    while not path.exists():
        time.sleep(0.02)
        context.progress("waiting", 0, 1, "images")


def _trail(tree, stage, line):
    with (tree.state / f"trail.{stage}").open("a") as file:
        file.write(line + "\n")


def _fail(tree, stage, how):
    if how is None:
        return
    _trail(tree, stage, "failing")
    if (tree.state / f"trail.{stage}").read_text().count("failing") > how["times"]:
        return
    if how["error"] == "segfault":
        ctypes.string_at(0)
    if how["error"] == "exit":
        os._exit(9)
    if how["error"] == "OSError":
        raise OSError(how["errno"], os.strerror(how["errno"]))
    if how["error"] == "cuda_memory":
        raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory. Tried to allocate 20.00 GiB")
    if how["error"] == "MissingFile":
        raise MissingFile("is not there", file="particles.mrcs")
    if how["error"] == "InvalidInput":
        raise InvalidInput("cannot be right", file="particles.star", row=3)
    raise ZeroDivisionError("nobody foresaw this")


def ingest(job, context):
    _run("ingest", job, context)


def reconstruction(job, context):
    _run("reconstruction", job, context)


def density(job, context):
    _run("density", job, context)


def analysis(job, context):
    _run("analysis", job, context)
