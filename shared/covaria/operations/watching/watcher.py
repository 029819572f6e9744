"""Jobs that start when data arrive: look through a folder, take each version of each set once.

Network filesystems report no events of other machines, so this looks again and again. A set is a particle file that
fits the rule's pattern; it is taken when it and its stacks have not changed size or time for a while, by our own clock,
or once a marker or the program's own record says that it is done. What was taken is told by what is in it: a file that
is written again as it was starts nothing, one with new rows or changed poses is a new version.
"""

from __future__ import annotations

import logging
import shlex
import stat
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from covaria.bus.model import Bus, BusError
from covaria.errors import CovariaError, InvalidInput, MissingFile
from covaria.job.updates import under_way
from covaria.messages.envelope import Message
from covaria.operations.arrivals import Outbox
from covaria.operations.jobs_on_disk import ENDED, view_job
from covaria.operations.quotas import OverQuota
from covaria.operations.submit import check_before, message_for
from covaria.operations.updates import grows_into, update_message
from covaria.operations.watching.content import Content, Stamps, read_content
from covaria.operations.watching.layouts import Standing, standing
from covaria.operations.watching.names import Names
from covaria.operations.watching.places import Found, Pattern, find
from covaria.operations.watching.records import Record, Records, Stamp, digest
from covaria.operations.watching.rules import Rule
from covaria.plain import printable
from covaria.request.identity import job_identity
from covaria.request.model import IngestOptions
from covaria.request.paths import absolute
from covaria.tree import Tree
from covaria.tree import record as books
from covaria.tree.versions import next_of

log = logging.getLogger(__name__)

State = Literal["settling", "waiting", "taken", "refused", "ignored"]
STATES: tuple[State, ...] = ("settling", "waiting", "taken", "refused", "ignored")


@dataclass
class _Seen:
    """A version that is settling."""

    stamp: Stamp
    since: float
    content: Content | None = None
    stacks: Stamps = ()
    late: bool = False
    """Something that belongs to it was not there when it was looked for."""


@dataclass(frozen=True)
class Arrival:
    """A version of a set that is to become a job."""

    found: Found
    out: Path
    standing: Standing
    replaces: bool


@dataclass
class Watcher:
    """Looks with one rule."""

    rule: Rule
    spool: Path
    clock: Callable[[], float] = time.monotonic
    read: Callable[[IngestOptions], Content] = read_content
    admit: Callable[[Message], None] = lambda message: None
    """Raises OverQuota where the job must wait."""
    states: Counter[State] = field(default_factory=Counter)
    """How many sets were found in which state, by the last look."""
    _seen: dict[str, _Seen] = field(default_factory=dict)
    _said: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.rule.folder.is_dir():
            raise InvalidInput("is not a folder", file=self.rule.folder, hint="give the folder into which data arrive")
        rule = self.rule
        mark = digest(f"{rule.folder.resolve()}\n{rule.pattern}\n{rule.into}")[:16]
        self.records = Records(self.spool / f"taken-{mark}")
        self.names = Names(self.spool / "names")
        self.outbox = Outbox(self.spool / "outbox")

    def look(self) -> list[Message]:
        """Take every settled version that was not taken before: into the outbox, then into its record.

        Each set is on its own: one that cannot be taken is said once, and the others are.
        """
        taken: list[Message] = []
        states: Counter[State] = Counter()
        seen: set[str] = set()
        for found in find(self.rule.folder, Pattern(self.rule.pattern), self._fixed_outputs()):
            seen.add(found.relative)
            try:
                state = self._look_at(found, taken)
            except Exception as error:  # whatever a set holds or is called, the next one is looked at
                state = self._refuse(found, error)
            if state is not None:
                states[state] += 1
        self._seen = {relative: version for relative, version in self._seen.items() if relative in seen}
        self.states = states
        return taken

    def is_quiet(self) -> bool:
        """Whether nothing is settling and nothing waits to be sent."""
        return not self.states["settling"] and not self.outbox.waiting()

    def send(self, bus: Bus, retry_delays_s: tuple[float, ...], pools: tuple[str, ...] = ()) -> int:
        """Send what waits in the outbox; a broker that is away, full or not set up is for later."""
        try:
            if not self.outbox.waiting():
                return 0
            if not bus.is_open:
                bus.open()
            return self.outbox.send(bus, retry_delays_s, pools)
        except (BusError, OSError) as error:
            log.warning("jobs wait in %s: %s", self.outbox.folder, error)
            return 0

    # ---- one set
    def _look_at(self, found: Found, taken: list[Message]) -> State | None:
        status = found.path.stat()
        if not stat.S_ISREG(status.st_mode):
            return None
        stamp, known = (status.st_size, status.st_mtime_ns), self.records.of(found.relative)
        if stamp == known.stamp or stamp == known.refused:
            self._seen.pop(found.relative, None)
            return "taken" if stamp == known.stamp else "refused"
        if printable(found.relative) != found.relative or "\n" in found.relative or "\t" in found.relative:
            raise InvalidInput("its name is not UTF-8 or holds control characters", file=found.path, hint="rename it")
        now = standing(found.path)
        if now.verdict != "take":
            self._seen.pop(found.relative, None)
            self._say(found, logging.INFO if now.verdict == "wait" else logging.DEBUG, now.why)
            return "waiting" if now.verdict == "wait" else "ignored"
        content = self._settled(found, stamp, now)
        return content if isinstance(content, str) else self._consider(found, stamp, now, content, taken)

    def _settled(self, found: Found, stamp: Stamp, now: Standing) -> Content | State:
        """What the file holds, once it and its stacks stand still or somebody says that they are done."""
        seen = self._seen.get(found.relative)
        if seen is None or seen.stamp != stamp:
            seen = self._seen[found.relative] = _Seen(stamp, self.clock())
            with suppress(CovariaError, OSError):  # half written, perhaps: it is read again once it is still
                seen.content = self.read(self._options(found.path, now))
                seen.stacks = seen.content.stamps()
        marker = None if self.rule.marker is None else found.path.parent / self.rule.marker
        if marker is not None and not marker.exists():
            return "waiting"
        signed = _is_later(now.finished if marker is None else marker, stamp)
        if not signed and self.clock() - seen.since < self.rule.settle_s:
            return "waiting" if seen.late else "settling"
        known, seen.content = seen.content, seen.content or self.read(self._options(found.path, now))
        before, seen.stacks = seen.stacks, seen.content.stamps()
        if not signed and known is not None and seen.stacks != before:
            seen.since = self.clock()
            return "settling"
        return seen.content

    def _consider(
        self, found: Found, stamp: Stamp, now: Standing, content: Content, taken: list[Message]
    ) -> State | None:
        """Whether what is there is new, and its job."""
        known = self.records.of(found.relative)
        news = f"{len(content.images)} rows" if known.version is None else content.news(known.version)
        if known.job_id and (known.version is None or not news or self.rule.again == "never"):
            what = "is as it was" if not news or known.version is None else f"has {news}, and is not taken again"
            log.info("%s was written again and %s", found.path, what)
            self._remember(found, known.model_copy(update={"stamp": stamp, "version": content.version()}))
            return "taken"
        if known.job_id and self.rule.again == "replace" and self._at_work(known):
            self._say(found, logging.INFO, f"it has {news}; job {known.job_id} is at work on the version before")
            return "waiting"
        message = self._take(found, stamp, now, content)
        log.info("took %s (%s) as job %s", found.path, news, message.job_id)
        taken.append(message)
        return "taken"

    def _take(self, found: Found, stamp: Stamp, now: Standing, content: Content) -> Message:
        known = self.records.of(found.relative)
        again = bool(known.job_id)
        arrival = Arrival(found, self._output(found, known), now, again and self.rule.again == "replace")
        message = self.message(arrival)
        check_before(message)
        self.admit(message)
        self.outbox.put(message)
        if arrival.replaces:  # a version before that is not sent yet has no one left who wants it
            self.outbox.drop(known.job_id)
        self._remember(
            found,
            Record(
                path=str(found.path),
                job_id=message.job_id,
                out=str(arrival.out),
                number=known.number + 1,
                version=content.version(),
                stamp=stamp,
                at=books.now(),
            ),
        )
        return message

    def message(self, arrival: Arrival) -> Message:
        """The job of a version: the same version again is the same job. Raises InvalidInput."""
        found, rule = arrival.found, self.rule
        request = absolute(
            rule.request(found.path, arrival.out, arrival.standing.passthrough, overwrite=arrival.replaces)
        )
        set_, out = shlex.quote(str(found.path)), shlex.quote(str(arrival.out))
        facts: Any = {"job_class": rule.job_class, "pool": rule.pool, "origin": rule.whose(rule.words(found))}
        if arrival.replaces and grows_into(request):
            return update_message(request, command_line=f"covaria grow {out} {set_}", **facts)
        line, job_id = f"covaria submit {set_} -o {out}", job_identity(request)
        return message_for(request, command_line=line, job_id=job_id, **facts)

    def _output(self, found: Found, known: Record) -> Path:
        if known.job_id and self.rule.again == "replace":
            return Path(known.out)
        wanted = self.rule.output(self.rule.words(found))
        if known.job_id:
            wanted = wanted.with_name(f"{wanted.name}-v{known.number + 1}")
        return self.names.give(wanted, found.path)

    def _options(self, path: Path, now: Standing) -> IngestOptions:
        return absolute(self.rule.request(path, Path("/"), now.passthrough)).ingest

    def _at_work(self, known: Record) -> bool:
        """Whether the job of the version before has begun and not ended, as far as its folder says."""
        try:
            if under_way(next_of(Tree(Path(known.out)))):
                return True
            view = view_job(Path(known.out))
        except Exception:  # not there yet, or not ours to read: the broker keeps the order
            return False
        return view.job_id == known.job_id and view.status not in (*ENDED, "parked")

    # ---- what is said and remembered
    def _refuse(self, found: Found, error: Exception) -> State:
        """What the system or a late file is to blame for is tried again; the rest waits for the set to change."""
        if isinstance(error, OSError | MissingFile | OverQuota):
            self._say(found, logging.WARNING, f"it is not taken yet: {error}")
            if (late := self._seen.get(found.relative)) is not None:
                late.since, late.late = self.clock(), True
            return "waiting"
        seen = self._seen.pop(found.relative, None)
        trace = None if isinstance(error, CovariaError) else error
        log.error("%s is not taken: %s", printable(str(found.path)), error, exc_info=trace)
        stamp = _stamp(found.path) if seen is None else seen.stamp
        known = self.records.of(found.relative)
        self._remember(found, known.model_copy(update={"refused": stamp, "why": printable(str(error)[:1000])}))
        return "refused"

    def _remember(self, found: Found, record: Record) -> None:
        self._seen.pop(found.relative, None)
        self._said.pop(found.relative, None)
        try:
            self.records.put(found.relative, record)
        except OSError as error:
            log.warning("what became of %s is not on disk: %s", printable(str(found.path)), error)

    def _say(self, found: Found, level: int, text: str) -> None:
        """Once, until there is something else to say."""
        if self._said.get(found.relative) != text:
            self._said[found.relative] = text
            log.log(level, "%s: %s", printable(str(found.path)), text)

    def _fixed_outputs(self) -> tuple[Path, ...]:
        """The part of the output template that no set changes: results beneath the watched folder are no sets."""
        fixed = Path(self.rule.into.replace("{root}", str(self.rule.root or self.rule.folder)).partition("{")[0])
        return (fixed,) if fixed != self.rule.folder and fixed.is_relative_to(self.rule.folder) else ()


def _stamp(path: Path) -> Stamp | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _is_later(sign: Path | None, stamp: Stamp) -> bool:
    """Whether a sign that a file is done was made after the file was written."""
    return sign is not None and sign.exists() and sign.stat().st_mtime_ns >= stamp[1]
