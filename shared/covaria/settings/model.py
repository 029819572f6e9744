"""Every setting of a service, in one class. It makes `docs/settings.md`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote, urlunsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from covaria.json_data import is_text
from covaria.settings.url import read_broker_url, redact_url

PREFIX = "COVARIA_"

POOL = r"^(ingest|reconstruction|density|analysis)\.[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?(:\d{1,9}(\.\d{1,3})?)?$"
Positive = Annotated[float, Field(gt=0)]


def _spool() -> Path:
    """A container's user may have no home: then it is the temporary folder."""
    home = Path(os.environ.get("HOME") or tempfile.gettempdir())
    return Path(os.environ.get("XDG_STATE_HOME") or home / ".local" / "state") / "covaria" / "spool"


class Settings(BaseSettings):
    """Everything a service can be told. A variable wins over a secret file, a secret file over the default."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    broker_url: SecretStr = Field(
        default=SecretStr("amqp://guest:guest@127.0.0.1:5672/%2F"),
        description="RabbitMQ: amqp[s]://user:password@host:port/vhost. Shown without the password.",
    )
    broker_username: str | None = Field(default=None, description="Replaces the URL's user.")
    broker_password: SecretStr | None = Field(
        default=None, description="Replaces the URL's password; best as a secret file."
    )
    broker_ca_file: Path | None = Field(
        default=None,
        description="Certificate authority that signed the broker's certificate (amqps); the system's when unset.",
    )
    broker_cert_file: Path | None = Field(
        default=None, description="Client certificate (amqps), where the broker asks for one."
    )
    broker_key_file: Path | None = Field(default=None, description="Private key of the client certificate.")
    broker_allow_plaintext: bool = Field(
        default=False, description="Allow amqp:// (no TLS) to a host other than loopback. For closed networks only."
    )
    broker_heartbeat_s: Annotated[int, Field(ge=5, le=600)] = Field(default=30, description="AMQP heartbeat, s.")
    broker_timeout_s: Positive = Field(
        default=30.0,
        description="How long connecting, or a publish held up by the broker's memory or disk alarm, may take, s.",
    )
    retry_delays_s: Annotated[tuple[Annotated[float, Field(ge=0.1)], ...], NoDecode] = Field(
        default=(30.0, 300.0, 1800.0),
        description="The retry tiers, short to long, s, separated by commas; part of the topology: "
        "the same for every service and for `covaria broker declare`.",
    )
    event_listeners: Annotated[tuple[Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")], ...], NoDecode] = Field(
        default=(),
        description="Who keeps the events about whole jobs in a queue `covaria.listen.<name>`, separated by commas: "
        "gateway, ispyb, webhook; part of the topology, for `covaria broker declare`.",
    )
    pools: Annotated[tuple[Annotated[str, Field(pattern=POOL)], ...], NoDecode] = Field(
        default=(),
        description="Pools of workers with queues of their own, separated by commas: reconstruction.h100, or "
        "reconstruction.large:20, which also takes jobs whose images take 20 GB or more; part of the topology.",
    )
    pool: str = Field(default="", description="The pool that a worker is of; of none when unset: the common queues.")
    roots: Annotated[tuple[Path, ...], NoDecode] = Field(
        default=(),
        description="Folders, separated by ':', beneath which every path of a job must lie, links resolved. "
        "A worker needs at least one.",
    )
    scratch: Path | None = Field(
        default=None,
        description="Fast local folder for a running stage's temporary files (becomes TMPDIR of the stage).",
    )
    image: str = Field(
        default="",
        description="The container image that this is, with its digest where it was chosen by one; job.json and the "
        "RO-Crate of a result name it.",
    )
    device: str = Field(default="auto", description="Where stages compute: auto, cpu, cuda or cuda:<n>.")
    memory_gb: Positive | None = Field(
        default=None,
        description="What a stage may use, GB; when unset, 60 % of what is free within the container's limit.",
    )
    # Probes and Prometheus come from other hosts; it serves no data.
    http_host: str = Field(
        default="0.0.0.0",  # nosec B104
        description="Address on which /livez, /readyz and /metrics answer.",
    )
    http_port: Annotated[int, Field(ge=0, le=65535)] = Field(
        default=8080, description="Port of /livez, /readyz and /metrics; 0 takes a free one and logs it."
    )
    gateway_tokens: SecretStr | None = Field(
        default=None,
        description="Who may ask `covaria gateway`: NAME:TOKEN, separated by spaces or lines, each token of 24 "
        "characters or more; best as a secret file.",
    )
    gateway_oidc_issuer: str = Field(
        default="", description="An OpenID provider whose access tokens the gateway takes: its https address."
    )
    gateway_oidc_audience: str = Field(default="", description="For whom such a token must be made out.")
    gateway_oidc_visits: str = Field(
        default="",
        description="Claim of such a token that lists visits: its holder sees and starts jobs of these alone. "
        "Unset: of all.",
    )
    facility_broker_url: SecretStr | None = Field(
        default=None,
        description="The facility's own RabbitMQ, of its recipes and its ISPyB service: amqp[s]://user:password@host/vhost.",
    )
    zocalo_queue: str = Field(default="covaria", description="Its queue from which recipe steps for Covaria are taken.")
    ispyb_queue: str = Field(default="ispyb_connector", description="Its queue of commands for ISPyB.")
    webhook_url: str = Field(default="", description="Where events about jobs are posted: an https address.")
    webhook_secret: SecretStr | None = Field(
        default=None, description="With which they are signed, 24 characters or more; best as a secret file."
    )
    poll_interval_s: Positive = Field(default=1.0, description="How often an idle worker asks its queues, s.")
    lease_renew_s: Positive = Field(default=10.0, description="How often a worker raises the counter of its lease, s.")
    lease_dead_s: Positive = Field(
        default=60.0,
        description="A lease whose counter stands still for this long, by the observer's clock, is taken over, s.",
    )
    job_timeout_s: Positive | None = Field(
        default=None, description="A stage that runs longer is stopped and parked, s; no limit when unset."
    )
    grace_s: Positive = Field(
        default=60.0,
        description="From asking a stage to stop (cancel, SIGTERM, time limit) to killing it, s. "
        "Keep it below the container's grace period.",
    )
    preempt_after_s: Annotated[float, Field(ge=0)] = Field(
        default=30.0,
        description="How long a bulk stage has run before a live message that no idle worker takes may have its place, "
        "s; it is sent back to its queue and resumes.",
    )
    preemptions: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=20, description="How often that may happen to one stage of a job; then it runs to its end. 0: never."
    )
    spool: Path = Field(
        default_factory=_spool, description="Where `covaria watch` keeps what it saw and what it could not send yet."
    )
    umask: Annotated[str, Field(pattern=r"^(0?[0-7]{3})?$")] = Field(
        default="",
        description="Octal umask of workers and gateway: 0007 gives the group all and others nothing; "
        "the process's own when unset.",
    )
    out_group: str = Field(
        default="",
        description="Group of a new output folder, with the setgid bit: `parent` (the group of the folder it is made "
        "in), a name or a number; when unset, as the filesystem does it.",
    )
    out_acl: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Entries of a POSIX access list for each new output folder and all in it, separated by commas: "
        "user:NAME:rwx, group:NAME:r-x.",
    )
    out_template: str = Field(
        default="",
        description="Where results go if who asks names no folder: {root}/{visit}/processed/covaria/{stem}, say; "
        "knows root, visit, proposal, instrument, sample, stem, year.",
    )
    service_uid: Annotated[int, Field(ge=0)] | None = Field(
        default=None,
        description="The services' uid. A submitter of this uid makes the output folder and shows the job there as "
        "queued; any other leaves both to the services.",
    )
    scan_depth: Annotated[int, Field(ge=1, le=12)] = Field(
        default=4,
        description="How deep beneath a root `covaria list`, `reconcile` and `exporter` look for output folders.",
    )
    scan_interval_s: Positive = Field(
        default=30.0, description="How often `covaria exporter` looks at job states and queues, s."
    )
    ledger: Path | None = Field(
        default=None,
        description="Folder of the ledger of jobs, on a filesystem with file locks. `covaria exporter` keeps it; "
        "`list`, `reconcile` and `account` read it and need not walk through the roots; workers leave notices there.",
    )
    ledger_url: SecretStr | None = Field(
        default=None,
        description="PostgreSQL that holds its rows instead of a file in that folder, where notices stay: "
        "postgresql://user:password@host/database. Best as a secret file; needs the extra `postgres`.",
    )
    quotas: Path | None = Field(
        default=None,
        description="YAML file of how much each proposal, visit, instrument, sample or submitter may have queued and "
        "use (docs/operations.md, Quotas); asked by whatever sends a job. Needs the ledger.",
    )
    walk_interval_s: Positive = Field(
        default=21600.0,
        description="How often `covaria exporter` walks through all roots to find what the ledger has missed, s.",
    )
    otel: bool = Field(
        default=False,
        description="Tell an OpenTelemetry collector of every attempt, as spans of the job's traceparent; its address "
        "is OTEL_EXPORTER_OTLP_ENDPOINT. Needs the extra `otel`.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="Least severe level that is logged."
    )
    log_format: Literal["json", "text"] = Field(
        default="json", description="One JSON object a line, or lines for people."
    )
    crash_at: str = Field(
        default="",
        description="Fault injection for tests: the process kills itself at this named point. Never set in production.",
    )

    @field_validator("roots", mode="before")
    @classmethod
    def _split_roots(cls, value: object) -> object:
        return tuple(part for part in value.split(":") if part) if isinstance(value, str) else value

    @field_validator("roots", mode="after")
    @classmethod
    def _absolute_roots(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        for root in value:
            if not root.is_absolute():
                raise ValueError(f"root {str(root)!r} is not an absolute path")
        return value

    @field_validator("out_acl", "event_listeners", "pools", mode="before")
    @classmethod
    def _split_words(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("retry_delays_s", mode="before")
    @classmethod
    def _split_delays(cls, value: object) -> object:
        return tuple(part for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("retry_delays_s", mode="after")
    @classmethod
    def _rising_delays(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or list(value) != sorted(set(value)):
            raise ValueError("retry delays must rise, and there must be at least one")
        return value

    @field_validator("broker_url", mode="after")
    @classmethod
    def _amqp_url(cls, value: SecretStr) -> SecretStr:
        read_broker_url(value.get_secret_value())
        return value

    @field_validator("broker_password", mode="after")
    @classmethod
    def _readable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not is_text(value.get_secret_value()):
            raise ValueError("is not UTF-8")
        return value

    @model_validator(mode="after")
    def _whole_provider(self) -> Self:
        if bool(self.gateway_oidc_issuer) != bool(self.gateway_oidc_audience):
            raise ValueError("gateway_oidc_issuer and gateway_oidc_audience belong together")
        return self

    @model_validator(mode="after")
    def _where_notices_lie(self) -> Self:
        if self.ledger_url is not None and self.ledger is None:
            raise ValueError("ledger_url needs ledger, the folder of notices")
        return self

    @model_validator(mode="after")
    def _renew_before_dead(self) -> Self:
        if self.lease_dead_s < 3 * self.lease_renew_s:
            raise ValueError("lease_dead_s must be at least three times lease_renew_s")
        return self

    def amqp_url(self) -> str:
        """The broker's URL with user and password put in. Secret: never log it."""
        parts = read_broker_url(self.broker_url.get_secret_value())
        user = quote(self.broker_username, safe="") if self.broker_username else parts.username
        password = quote(self.broker_password.get_secret_value(), safe="") if self.broker_password else parts.password
        host = f"[{parts.hostname}]" if parts.hostname and ":" in parts.hostname else parts.hostname or ""
        login = "" if user is None else (f"{user}:{password}@" if password is not None else f"{user}@")
        port = f":{parts.port}" if parts.port else ""
        return urlunsplit((parts.scheme, f"{login}{host}{port}", parts.path, parts.query, ""))

    def redacted(self) -> dict[str, object]:
        """Every setting as it may be printed: no password anywhere."""
        shown = self.model_dump(mode="json")
        shown["broker_url"] = redact_url(self.amqp_url())
        for secret in ("broker_password", "gateway_tokens", "facility_broker_url", "webhook_secret", "ledger_url"):
            shown[secret] = "***" if shown[secret] else None
        return shown
