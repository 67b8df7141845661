"""Commands that are decisions of one line: about the people named, or about each that a file names."""

import datetime as dt
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from subject_pipeline.cli.shell import DONE, SOMETHING_FAILED, Shell, command_options, end, say
from subject_pipeline.decisions.decision import Decision, Kind, parse_decision
from subject_pipeline.errors import ConfigurationError, DecisionError
from subject_pipeline.formats.times import format_time
from subject_pipeline.lifecycle.applying import Decisions
from subject_pipeline.lifecycle.id_files import read_ids

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Order:
    """What a command that decides was called with: whom it is about, and what every decision has."""

    candidate_ids: tuple[str, ...]
    path: Path | None
    reason: str | None
    evidence: str | None
    actor: str | None
    approved_by: str | None
    ts: str | None
    decision_id: str | None
    dry_run: bool

    def named(self) -> Sequence[str]:
        """The people named, by the call or by a file, each once.

        Raises:
            ConfigurationError: both are given, or neither.
            SourceError: the file cannot be used.
        """
        if bool(self.candidate_ids) == (self.path is not None):
            both = ", not both" if self.candidate_ids else ""
            raise ConfigurationError(f"say whom it is about: ids, or --file FILE{both}")
        return read_ids(self.path) if self.path is not None else list(dict.fromkeys(self.candidate_ids))

    def decisions(self, actor: str, kind: Kind, fields: Mapping[str, str | None]) -> list[Decision]:
        """A decision of this kind about each of them.

        Raises:
            ConfigurationError: it cannot be one.
            SourceError: the file cannot be used.
        """
        common = {
            "kind": kind,
            "ts": self.ts or format_time(dt.datetime.now(dt.UTC)),
            "actor": self.actor or actor,
            "reason": self.reason,
            "evidence": self.evidence,
            "approved_by": self.approved_by,
            **fields,
        }
        try:
            return [
                parse_decision({**common, "candidate_id": one, "decision_id": self.decision_id or uuid.uuid4().hex})
                for one in self.named()
            ]
        except DecisionError as error:
            raise ConfigurationError(f"cannot decide so: {error}") from error


def decision_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command whom it is about, why and by whom, as its argument `order`."""

    def with_order(shell: Shell, /, **options: object) -> None:
        names = Order.__slots__
        order = Order(**{name: options.pop(name) for name in names})  # type: ignore[arg-type]
        command(shell, order, **options)

    with_order.__doc__, with_order.__name__ = command.__doc__, command.__name__
    with_order.__click_params__ = getattr(command, "__click_params__", [])  # type: ignore[attr-defined]
    given = (
        click.argument("candidate_ids", metavar="ID...", nargs=-1),
        click.option("--file", "path", type=click.Path(path_type=Path), metavar="FILE",
                     help="Everybody whom a file names, in place of ids: one a line, or a column candidate_id."),
        click.option("--reason", metavar="TEXT", help="Up to 200 characters, no personal data."),
        click.option("--evidence", metavar="URI|sha256:HEX", help="The document that the decision rests on."),
        click.option("--actor", metavar="NAME", help="Who decides. Default: $SUBJECT_ACTOR, else the system user."),
        click.option("--approved-by", metavar="NAME", help="The second person, where a policy wants four eyes."),
        click.option("--ts", metavar="TIME", help="When it was decided, RFC 3339. Default: now."),
        click.option("--decision-id", metavar="TEXT", help="Makes the same decision count once. Default: random."),
        click.option("--dry-run", is_flag=True, help="Judge, and write nothing."),
    )  # fmt: skip
    decorated = command_options(with_order)
    for option in reversed(given):
        decorated = option(decorated)
    return decorated


@click.command()
@click.option("--give", metavar="SCOPE", help="Consent to general_pii or biometric is given; needs --version.")
@click.option("--refuse", metavar="SCOPE", help="It is refused, and was never given.")
@click.option("--withdraw", metavar="SCOPE", help="It was given, and is withdrawn.")
@click.option("--version", metavar="TEXT", help="Of the text consented to.")
@click.option("--until", metavar="TIME", help="When a biometric consent ends, RFC 3339.")
@decision_options
def consent(
    shell: Shell,
    order: Order,
    give: str | None,
    refuse: str | None,
    withdraw: str | None,
    version: str | None,
    until: str | None,
) -> None:
    """Record that consent is given, refused or withdrawn."""
    scopes = {Kind.CONSENT_GIVEN: give, Kind.CONSENT_REFUSED: refuse, Kind.CONSENT_WITHDRAWN: withdraw}
    chosen = [(kind, scope) for kind, scope in scopes.items() if scope is not None]
    if len(chosen) != 1:
        raise ConfigurationError("give one of --give SCOPE, --refuse SCOPE and --withdraw SCOPE")
    kind, scope = chosen[0]
    _decide(shell, order, kind, scope=scope, version=version, until=until)


@click.command()
@click.option("--vertical", required=True, metavar="WORD", help="One that the policies declare, or unknown.")
@decision_options
def classify(shell: Shell, order: Order, vertical: str) -> None:
    """Set somebody's vertical."""
    _decide(shell, order, Kind.CLASSIFIED, vertical=vertical)


@click.command()
@click.option("--hold-id", required=True, metavar="TEXT", help="The hold's own name, such as a case number.")
@decision_options
def hold(shell: Shell, order: Order, hold_id: str) -> None:
    """Place a legal hold: nobody held is erased."""
    _decide(shell, order, Kind.HOLD_PLACED, hold_id=hold_id)


@click.command()
@click.option("--hold-id", required=True, metavar="TEXT", help="The hold's own name.")
@decision_options
def release(shell: Shell, order: Order, hold_id: str) -> None:
    """Release a legal hold."""
    _decide(shell, order, Kind.HOLD_RELEASED, hold_id=hold_id)


@click.command()
@decision_options
def restrict(shell: Shell, order: Order) -> None:
    """Restrict processing."""
    _decide(shell, order, Kind.RESTRICTED)


@click.command()
@decision_options
def unrestrict(shell: Shell, order: Order) -> None:
    """Lift a restriction."""
    _decide(shell, order, Kind.UNRESTRICTED)


@click.command()
@decision_options
def readmit(shell: Shell, order: Order) -> None:
    """Let somebody who was erased be registered again."""
    _decide(shell, order, Kind.READMITTED)


def _decide(shell: Shell, order: Order, kind: Kind, **fields: str | None) -> None:
    """Apply one decision to each person named; those whom it is refused for are named with the reason, exit 1."""
    started = time.perf_counter()
    store = shell.keyed_store()
    orders = order.decisions(shell.actor(), kind, fields)
    applying = Decisions(store, shell.actor())
    verdicts = applying.apply(orders, dry_run=order.dry_run)
    applying.close()
    outcomes = [verdict.outcome for verdict in verdicts]
    refused = [
        {"candidate_id": decision.candidate_id, "reason": verdict.reason}
        for decision, verdict in zip(orders, verdicts, strict=True)
        if verdict.outcome == "rejected"
    ]
    for one in refused[:_SHOWN]:
        say(f"refused for {one['candidate_id']}: {one['reason']}")
    if len(refused) > _SHOWN:
        say(f"... and {len(refused) - _SHOWN:,} more (--json names all)")
    counts = {outcome: outcomes.count(outcome) for outcome in ("applied", "already_applied", "rejected")}
    would = "would be " if order.dry_run else ""
    shell.tell(
        {
            "kind": str(kind),
            "decisions": len(orders),
            **counts,
            "rejections": refused,
            "decision_ids": [one.decision_id for one in orders],
            "dry_run": order.dry_run,
            "elapsed_s": round(time.perf_counter() - started, 3),
        },
        f"{kind}: {would}applied to {counts['applied']:,} of {len(orders):,}"
        + (f", {counts['already_applied']:,} had it before" if counts["already_applied"] else ""),
    )
    end(SOMETHING_FAILED if refused else DONE)
