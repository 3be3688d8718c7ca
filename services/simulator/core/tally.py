"""What a test of a configuration counts, portfolio by portfolio, and the document it answers with."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from libs.common.domain.config_test import CHANGED_MAX, ChangedAttempt, Compared, ConfigTestResult, Figures, Verdict
from libs.common.domain.kinds import Scope
from libs.common.domain.statistics import Start, pnl_since
from services.simulator.core.outcome import Outcome
from services.simulator.core.portfolio import PortfolioState
from services.simulator.core.rerun import Course, Ran, Recorded, lacks_book


@dataclass(slots=True)
class Tally:
    """Counts of one course of one portfolio."""

    attempts: int = 0
    executed: int = 0
    partial: int = 0
    notional_micros: int = 0
    fee_micros: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def count(self, made: Ran) -> None:
        """Count one attempt."""
        self.attempts += 1
        if made.executed:
            self.executed += 1
            self.partial += made.partial
            self.notional_micros += made.notional_micros
            self.fee_micros += made.fee_micros
        else:
            self.reasons.update(made.reasons)

    def figures(self, course: Course, state: PortfolioState) -> Figures:
        """Return the counts with what the course is worth now."""
        end, start = state.equity_micros, Start(course.start_equity_micros, course.flows_micros)
        open_holdings = [holding for holding in state.holdings().values() if holding.share_micros]
        return Figures(
            attempts=self.attempts,
            executed=self.executed,
            partial=self.partial,
            skipped=self.attempts - self.executed,
            skipped_by_reason=dict(sorted(self.reasons.items())),
            traded_notional_micros=self.notional_micros,
            fee_micros=self.fee_micros,
            start_equity_micros=course.start_equity_micros,
            net_flows_micros=course.flows_micros,
            end_equity_micros=end,
            pnl_micros=pnl_since(start, end) or 0,
            unmarked=sum(holding.mark_micros is None for holding in open_holdings),
        )


class Findings:
    """Everything one test finds out."""

    def __init__(self, portfolios: Sequence[tuple[UUID, Scope, str | None]], labels: Mapping[UUID, str]) -> None:
        """`portfolios` are (id, scope, label of the user) in the order shown."""
        self._portfolios, self._labels = portfolios, labels
        self._ran = {each: Tally() for each, _, _ in portfolios}
        self._draft = {each: Tally() for each, _, _ in portfolios}
        self._changes: Counter[UUID] = Counter()
        self._changed: list[ChangedAttempt] = []
        self.without_book = 0
        self.not_tested: set[str] = set()

    def count(self, recorded: Recorded, outcome: Outcome) -> None:
        """Count a decision made again."""
        ran, drafted = recorded.ran, Ran.of(outcome)
        self._ran[recorded.portfolio_id].count(ran)
        self._draft[recorded.portfolio_id].count(drafted)
        if drafted == ran:
            return
        self._changes[recorded.portfolio_id] += 1
        self.without_book += lacks_book(outcome) and not ran.executed and "BOOK_UNAVAILABLE" not in ran.reasons
        if len(self._changed) < CHANGED_MAX:
            self._changed.append(self._change(recorded, drafted))

    def result(
        self, courses: Mapping[UUID, Course], since: datetime, until: datetime, marked_at: datetime, groups: int
    ) -> ConfigTestResult:
        """Return the document; the courses must have been brought to now."""
        compared = [self._compare(each, scope, label, courses[each]) for each, scope, label in self._portfolios]
        scopes = []
        for scope in dict.fromkeys(each.scope for each in compared):
            total = Compared(
                scope=scope, user_label=None, changed=0, ran=Figures(), draft=Figures(), difference=Figures()
            )
            for each in compared:
                if each.scope is scope:
                    total.changed += each.changed
                    total.ran.add(each.ran)
                    total.draft.add(each.draft)
                    total.difference.add(each.difference)
            scopes.append(total)
        return ConfigTestResult(
            since=since,
            until=until,
            marked_at=marked_at,
            groups=groups,
            scopes=scopes,
            portfolios=compared,
            changed_total=self._changes.total(),
            changed=self._changed,
            not_tested=sorted(self.not_tested),
            without_book=self.without_book,
            reconstruction_gaps=sum(course.gaps for course in courses.values()),
        )

    def _compare(self, portfolio: UUID, scope: Scope, label: str | None, course: Course) -> Compared:
        ran = self._ran[portfolio].figures(course, course.ran)
        draft = self._draft[portfolio].figures(course, course.draft)
        difference = Figures()
        difference.add(draft)
        difference.add(ran, -1)
        return Compared(
            scope=scope,
            user_label=label,
            changed=self._changes[portfolio],
            ran=ran,
            draft=draft,
            difference=difference,
        )

    def _change(self, recorded: Recorded, drafted: Ran) -> ChangedAttempt:
        group = recorded.group
        return ChangedAttempt(
            attempt_id=recorded.attempt_id,
            group_id=group.id,
            scope=recorded.clock.scope,
            user_label=self._labels[group.user_id],
            decided_at=recorded.clock.decided_at,
            kind=group.kind,
            condition_id=recorded.market.condition_id if recorded.market else group.condition_id,
            asset_id=group.asset_id,
            side=group.side,
            ran=_verdict(recorded.ran),
            draft=_verdict(drafted),
        )


def _verdict(made: Ran) -> Verdict:
    return Verdict(
        decision=made.decision,
        reason_codes=list(made.reasons),
        filled_share_micros=made.share_micros,
        filled_notional_micros=made.notional_micros,
        fee_micros=made.fee_micros,
    )
