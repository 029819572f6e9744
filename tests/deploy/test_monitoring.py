"""Rules, dashboards and runbooks speak of series that exist; promtool shows each alert firing and keeping quiet."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from deployment import REPOSITORY, dashboard_expressions, dashboards, metric_names, rule_expressions

from covaria.worker.metrics import OUTCOMES
from covaria.worker.service_metrics import DELIVERIES, metric_table

PROMETHEUS = REPOSITORY / "deploy" / "prometheus"
RUNBOOKS = (REPOSITORY / "docs" / "runbooks.md").read_text
BROKER_SERIES = (Path(__file__).parent / "broker_metrics.txt").read_text().splitlines()[1:]


def served() -> dict[str, set[str]]:
    """Every series that workers, exporter, broker and recording rules serve -> its labels (broker's: not known)."""
    found: dict[str, set[str]] = {}
    for name, kind, labels, _ in metric_table():
        own = set(filter(None, labels.split(", ")))
        names = [f"{name}_{part}" for part in ("bucket", "sum", "count")] if kind == "histogram" else [name]
        found |= {each: own | {"le"} for each in names}
    found |= {name: {"*"} for name in BROKER_SERIES}
    return found | {name: {"*"} for name in rule_expressions() if ":" in name}


EXPRESSIONS = rule_expressions() | dashboard_expressions()


@pytest.mark.parametrize("where", sorted(EXPRESSIONS))
def test_every_series_exists_with_its_labels(where: str):
    expression, known = EXPRESSIONS[where], served()
    names = metric_names(expression)
    assert names, "an expression about nothing"
    assert names <= set(known)
    for name, selector in re.findall(r"((?:covaria|rabbitmq)[_:][a-z0-9_:]+)\{([^}]*)\}", expression):
        labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!=|!~|=)", selector))
        assert labels <= known[name] | {"instance", "job", "namespace", "installation"} or "*" in known[name], (
            name,
            labels,
        )


def test_outcomes_in_expressions_exist():
    for where, expression in EXPRESSIONS.items():
        for value in re.findall(r'outcome=~?"([^"]+)"', expression):
            assert set(value.split("|")) <= {*OUTCOMES, *DELIVERIES}, where


def test_every_metric_is_looked_at():
    used = set().union(*(metric_names(expression) for expression in EXPRESSIONS.values()))
    looked_at = {re.sub(r"_(bucket|sum|count)$", "", name) for name in used} | used
    assert {name for name, *_ in metric_table()} - looked_at == set()


def test_every_alert_has_a_runbook_with_its_steps():
    text = RUNBOOKS()
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", text, flags=re.M | re.S))
    alerts = [
        rule
        for path in (PROMETHEUS / "rules").glob("*.yaml")
        for group in yaml.safe_load(path.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]
    assert len(alerts) >= 11
    for rule in alerts:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{rule['alert'].lower()}"
        section = sections[rule["alert"]]
        for part in ("**Means**", "**Look**", "**Do**"):
            assert part in section, (rule["alert"], part)
    assert set(sections) == {rule["alert"] for rule in alerts}


def test_dashboards_are_whole():
    found = dashboards()
    assert set(found) == {"covaria-pipeline", "covaria-workers", "covaria-broker", "covaria-edges"}
    for name, dashboard in found.items():
        assert dashboard["uid"] == name
        assert [variable["name"] for variable in dashboard["templating"]["list"]] == [
            "datasource",
            "namespace",
            "installation",
            *(["gateway"] if name == "covaria-pipeline" else []),
        ]
        numbers = [panel["id"] for panel in dashboard["panels"]]
        assert len(set(numbers)) == len(numbers)
        for panel in dashboard["panels"]:
            place = panel["gridPos"]
            assert place["x"] + place["w"] <= 24
            if panel["type"] != "row":
                assert panel["targets"] and panel["datasource"]["uid"] == "${datasource}", panel["title"]
                assert panel["fieldConfig"]["defaults"]["unit"]


def test_every_rule_and_panel_tells_installations_apart():
    for name, expression in rule_expressions().items():
        for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
            chosen = set(labels.split(", "))  # a pod, which DCGM's exporter tells of, is of one installation
            assert {"namespace", "installation"} <= chosen or {"namespace", "pod"} <= chosen, (name, labels)
        summed = re.findall(r"\b(?:sum|max|min|count|group|avg)\s*\(", expression)
        assert not summed, (name, "an aggregation over all installations")
    for name, dashboard in dashboards().items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", []):
                for selector in re.findall(r"covaria[_:][a-z0-9_:]+(\{[^}]*\})?", target["expr"]):
                    assert 'namespace=~"$namespace", installation=~"$installation"' in selector, (name, target["expr"])


def test_prometheus_scrapes_what_compose_runs():
    services = yaml.safe_load((REPOSITORY / "deploy" / "compose.yaml").read_text())["services"]
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yaml").read_text())
    for job in configuration["scrape_configs"]:
        names = [name for config in job.get("dns_sd_configs", []) for name in config["names"]]
        names += [t.partition(":")[0] for config in job.get("static_configs", []) for t in config["targets"]]
        assert names and set(names) <= set(services), job["job_name"]


@pytest.fixture
def promtool() -> str:
    path = shutil.which("promtool")
    if path is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    return path


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_configuration_and_rules(promtool: str):
    run(promtool, "check", "config", str(PROMETHEUS / "prometheus.yaml"))
    run(promtool, "check", "rules", str(PROMETHEUS / "rules" / "covaria.yaml"))


def test_each_alert_fires_and_keeps_quiet(promtool: str):
    tests = yaml.safe_load((PROMETHEUS / "rules.test.yaml").read_text())["tests"]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case["exp_alerts"]}
    assert fired == {name for name in rule_expressions() if ":" not in name}
    run(promtool, "test", "rules", str(PROMETHEUS / "rules.test.yaml"))


def labelled(selector: str, **labels: str) -> str:
    """A series, or a set of labels, with more labels; those that it has stay."""
    name, _, inner = selector.rstrip("}").partition("{")
    more = ", ".join(f'{key}="{value}"' for key, value in labels.items() if f'{key}="' not in inner)
    return f"{name}{{{inner}{', ' if inner else ''}{more}}}"


def beside_a_healthy_one(test: dict, healthy: dict, *, other: str) -> dict:
    """The same test as instrument m01's, with a second instrument in the same Prometheus, which is well."""
    places = {"m01": ("em", "m01"), "namespace": ("other", "m01"), "installation": ("em", "m02")}
    (here, name), (there, twin) = places["m01"], places[other]
    double = copy.deepcopy(test)
    for series in double["input_series"]:
        series["series"] = labelled(series["series"], namespace=here, installation=name)
    for series in healthy["input_series"]:
        twins = labelled(series["series"], namespace=there, installation=twin)
        double["input_series"].append({"series": twins, "values": series["values"]})
    for case in double.get("promql_expr_test", []):
        for sample in case["exp_samples"]:
            sample["value"] = float(sample["value"])
            sample["labels"] = labelled(sample["labels"], namespace=here, installation=name)
    for case in double.get("alert_rule_test", []):
        for alert in case["exp_alerts"]:
            alert["exp_labels"] |= {"namespace": here, "installation": name}
    return double


@pytest.mark.parametrize("other", ["installation", "namespace"])
def test_a_second_instrument_masks_nothing_and_is_not_blamed(promtool: str, tmp_path: Path, other: str):
    text = (PROMETHEUS / "rules.test.yaml").read_text()
    whole = yaml.load(text, yaml.BaseLoader)  # 0x600 is a series of noughts, no number
    healthy, *others = whole["tests"]
    assert healthy["name"] == "healthy"
    tests = [beside_a_healthy_one(test, healthy, other=other) for test in others]
    fired = {case["alertname"] for test in tests for case in test.get("alert_rule_test", []) if case["exp_alerts"]}
    assert fired == {name for name in rule_expressions() if ":" not in name}, "every rule, with two instruments"
    document = {**whole, "rule_files": [str(PROMETHEUS / "rules" / "covaria.yaml")], "tests": tests}
    (tmp_path / "two.yaml").write_text(yaml.safe_dump(document))
    run(promtool, "test", "rules", str(tmp_path / "two.yaml"))


def test_every_panel_is_valid_promql(promtool: str, tmp_path: Path):
    rules = [{"record": f"panel:{number}", "expr": e} for number, e in enumerate(dashboard_expressions().values())]
    assert len(rules) > 40
    path = tmp_path / "panels.yaml"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))
    run(promtool, "check", "rules", str(path))
