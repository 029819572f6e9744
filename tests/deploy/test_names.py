"""Random names, labels, paths and quantities: the chart takes just those that Kubernetes' own rules allow."""

from __future__ import annotations

import posixpath
import string
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import helm_python
import pytest
from helm_python import Chart
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

Rule = Callable[[str], bool]
LOWER = set(string.ascii_lowercase + string.digits)
ANY = set(string.ascii_letters + string.digits)

quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def is_label(text: str, allowed: set[str] = LOWER, inside: str = "-", longest: int = 63) -> bool:
    """Letters and digits at both ends, and what is allowed between them."""
    inner = allowed | set(inside)
    return 0 < len(text) <= longest and {text[0], text[-1]} <= allowed and set(text) <= inner


def is_subdomain(text: str) -> bool:
    """Most objects' names: RFC 1123 labels with dots between."""
    return len(text) <= 253 and all(is_label(part, longest=253) for part in text.split("."))


def is_label_value(text: str) -> bool:
    return text == "" or is_label(text, ANY, "-_.")


def is_label_key(text: str) -> bool:
    prefix, slash, name = text.rpartition("/")
    return is_label(name, ANY, "-_.") and (not slash or is_subdomain(prefix))


def accepted(chart: Chart, values: dict[str, Any]) -> bool:
    try:
        chart.validate_schema(values)
    except helm_python.HelmValuesError:
        return False
    return True


def claim(name: str, path: str = "/data") -> dict[str, Any]:
    return {"data": {"volumes": [{"name": "d", "mountPath": path, "existingClaim": name}]}}


words = st.text(alphabet="aZ0-._/ \n", min_size=1, max_size=8) | st.text(alphabet="a0-.", min_size=1, max_size=70)


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        (lambda name: {"rabbitmq": {"existingSecret": name}}, is_subdomain),
        (claim, is_subdomain),
        (lambda name: {"image": {"pullSecrets": [name]}}, is_subdomain),
        (lambda name: {"services": {"ingest": {"priorityClassName": name}}}, is_subdomain),
        (lambda name: {"serviceAccount": {"name": name}}, is_subdomain),
        (lambda name: {"fullnameOverride": name}, is_label),
        (lambda name: {"gpu": {"nodeSelector": {"key": name}}}, is_label_value),
        (lambda name: {"gpu": {"nodeSelector": {name: "value"}}}, is_label_key),
        (lambda name: {"services": {"ingest": {"podAnnotations": {name: "value"}}}}, is_label_key),
    ],
    ids=["secret", "claim", "pull secret", "priority", "account", "fullname", "label", "label key", "annotation key"],
)
def test_names_are_those_that_kubernetes_takes(chart: Chart, values: Callable[[str], dict[str, Any]], rule: Rule):
    @quick
    @given(words)
    @example("a" * 63)
    @example("a" * 64)
    @example("a.b-c")
    @example("a..b")
    @example("a\n")
    def check(name: str) -> None:
        assert accepted(chart, values(name)) is rule(name), repr(name)

    check()


TAKEN = (
    "bin",
    "boot",
    "dev",
    "etc",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "proc",
    "root",
    "run",
    "sbin",
    "scratch",
    "sys",
)
TAKEN += ("tmp", "usr")


@quick
@given(
    st.lists(st.sampled_from(["", ".", "..", "a", "data", "tmp", "etc", "opt", "covaria", "a:b", "..x"]), max_size=5)
)
@example(["opt"])
@example(["opt", "covaria", "x"])
@example(["opt", "data"])
def test_mount_paths_are_normal_and_hide_nothing(chart: Chart, parts: list[str]):
    path = "/" + "/".join(parts)
    normal = path == posixpath.normpath(path) and not path.startswith("//") and ":" not in path and path != "/"
    hidden = path.split("/")[1] in TAKEN or path == "/opt" or (path + "/").startswith("/opt/covaria/")
    assert accepted(chart, claim("x", path)) is (normal and not hidden)


UNITS = {"": 1, "k": 10**3, "Ki": 2**10, "M": 10**6, "Mi": 2**20, "G": 10**9, "Gi": 2**30, "T": 10**12, "Ti": 2**40}
quantities = st.tuples(
    st.sampled_from(["1", "2", "1.5", "1000", "1024", "0.5", "1.0001"]), st.sampled_from(list(UNITS))
)


@quick
@given(quantities, quantities)
@example(("1", "Gi"), ("1", "G"))
@example(("1000", "Mi"), ("1", "Gi"))
@example(("1024", "Mi"), ("1", "Gi"))
def test_requests_are_at_most_limits(chart: Chart, request: tuple[str, str], limit: tuple[str, str]):
    asked, allowed = (Fraction(number) * UNITS[unit] for number, unit in (request, limit))
    resources = {"requests": {"memory": "".join(request)}, "limits": {"memory": "".join(limit)}}
    whole = all(unit or "." not in number for number, unit in (request, limit))
    fits = whole and asked.denominator == allowed.denominator == 1 and asked <= allowed
    try:
        chart.render({"services": {"ingest": {"resources": resources}}}, name="covaria", namespace="em")
    except helm_python.HelmError:
        assert not fits
    else:
        assert fits
