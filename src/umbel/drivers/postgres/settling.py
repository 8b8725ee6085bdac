"""Ending claims: everything a settlement says is one transaction, or nothing of it happens.

The usual batch (claims that end, their results, follow-ups) is one statement, which needs no
further round trip to begin and commit.  What is rare (dead letters, requeued messages, two states
of one task) takes the steps one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from umbel.drivers.postgres import arrivals, burial, claims, results

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from umbel.drivers.postgres.link import Link
    from umbel.drivers.postgres.store import Store
    from umbel.message import Delivery, Message, Settlement

# See the function.
SETTLE = """
SELECT umbel.settle(
    %(seqs)b::int8[], %(fences)b::int8[],
    %(result_ids)b::text[], %(statuses)b::text[], %(finals)b::bool[], %(spans)b::float8[],
    %(types)b::text[], %(payloads)b::bytea[], %(claims)b::int8[],
    %(ids)b::text[], %(queues)b::text[], %(priorities)b::int2[], %(dues)b::float8[],
    %(heads)b::bytea[], %(bodies)b::bytea[], %(parents)b::int8[])
"""
END = """
DELETE FROM umbel.message
WHERE seq = ANY (%b::int8[]) AND fence = %b AND owner IS NOT NULL RETURNING seq
"""
REQUEUE = """
UPDATE umbel.message SET owner = NULL, rank = nextval('umbel.number'),
    crashes = crashes - begun, begun = 0
WHERE seq = %b AND fence = %b AND owner IS NOT NULL
"""

# Ended messages after which the places they leave are made free for new ones.
_SWEPT = 20_000


class Settling:
    """The side of the broker that takes messages back."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ended = 0

    def begin(self, delivery: Delivery) -> bool:
        """See `Broker.begin`."""
        statement = self._store.sql(claims.BEGIN)
        given = [delivery.tag], delivery.fence
        return self._store.run(lambda link: link.count(statement, given)) == 1

    def settle(self, settlements: Sequence[Settlement]) -> list[bool]:
        """See `Broker.settle`."""
        if not settlements:
            return []
        batch = _Batch(self._store, settlements)
        if batch.is_usual:
            accepted = self._store.run(batch.end_at_once)
        else:
            accepted = self._store.transaction(batch.end_step_by_step)
        arrivals.wake(self._store, batch.news(accepted))
        self._sweep(accepted.count(True))
        return accepted

    def release(self, deliveries: Sequence[Delivery], *, crashed: bool = False) -> int:
        """See `Broker.release`."""
        if not deliveries:
            return 0
        statement = self._store.sql(claims.RELEASE_CRASHED if crashed else claims.RELEASE)
        parts = claims.by_fence((delivery.tag, delivery.fence) for delivery in deliveries)

        def release(link: Link) -> list[Any]:
            return [row for part in parts for row in link.all(statement, part)]

        run = self._store.run if len(parts) == 1 else self._store.transaction
        freed = run(release)
        arrivals.wake(self._store, arrivals.counted(freed))
        return len(freed)

    def _sweep(self, ended: int) -> None:
        """Every now and then, make the places of rows that are gone free for new ones.

        The server's own vacuum comes once a minute, by when a busy queue has left a million of
        them, which every claim has to step over.
        """
        self._ended += ended
        if self._ended >= _SWEPT:
            self._ended = 0
            sweep(self._store)


def sweep(store: Store) -> None:
    """Make the places of rows that are gone free for new ones, unless somebody does already."""

    def sweep(link: Link) -> None:
        for table in ("message", "waiting"):
            link.count(store.sql(f"VACUUM (SKIP_LOCKED, TRUNCATE false) umbel.{table}"))

    arrivals.quietly(store, sweep)


class _Batch:
    """What one call settles."""

    def __init__(self, store: Store, settlements: Sequence[Settlement]) -> None:
        self._store = store
        self._settlements = settlements
        self._heads = [arrivals.heads_of(s.follow) for s in settlements]
        self._claims = [
            None if s.delivery is None else (s.delivery.tag, s.delivery.fence) for s in settlements
        ]
        # Of two ends of one claim, the first counts.
        seen: set[Any] = {None}
        self._again = [claim in seen or seen.add(claim) is not None for claim in self._claims]  # type: ignore[func-returns-value]

    @property
    def is_usual(self) -> bool:
        """Whether it can be done in one statement."""
        if any(s.dead is not None or s.requeue for s in self._settlements):
            return False
        named = [s.result.id for s in self._settlements if s.result is not None]
        doubled = any(
            again and claim is not None
            for again, claim in zip(self._again, self._claims, strict=True)
        )
        return len(set(named)) == len(named) and not doubled

    def end_at_once(self, link: Link) -> list[bool]:
        """One statement."""
        ended = [claim for claim in self._claims if claim is not None]
        stored = [
            (s.result, claim and claim[0])
            for s, claim in zip(self._settlements, self._claims, strict=True)
            if s.result is not None
        ]
        follow = [message for s in self._settlements for message in s.follow]
        given: dict[str, Any] = {
            "seqs": [seq for seq, _ in ended],
            "fences": [fence for _, fence in ended],
            **results.columns([state for state, _ in stored], [seq for _, seq in stored]),
            **arrivals.columns(follow, [head for own in self._heads for head in own]),
            "parents": [
                claim and claim[0]
                for s, claim in zip(self._settlements, self._claims, strict=True)
                for _ in s.follow
            ],
        }
        found = link.all(self._store.sql(SETTLE), given, prepare=True)
        gone = {seq for (seq,) in found}
        return [claim is None or claim[0] in gone for claim in self._claims]

    def end_step_by_step(self, link: Link) -> list[bool]:
        """One transaction; the caller begins and commits it."""
        accepted = self._end_claims(link)
        held = [s for s, ok in zip(self._settlements, accepted, strict=True) if ok]
        states = [s.result for s in held if s.result is not None]
        if states:
            results.store(link, self._store, states)
        follow, heads = self._follow(accepted)
        if follow:
            arrivals.insert(link, self._store, follow, heads)
        for settlement in held:
            if settlement.dead is not None:
                burial.bury(link, self._store, settlement.dead)
        return accepted

    def _end_claims(self, link: Link) -> list[bool]:
        ends = [
            claim
            for s, claim, again in zip(self._settlements, self._claims, self._again, strict=True)
            if claim is not None and not s.requeue and not again
        ]
        statement = self._store.sql(END)
        parts = claims.by_fence(ends)
        gone = {seq for part in parts for (seq,) in link.all(statement, part)}
        accepted = []
        for settlement, claim, again in zip(
            self._settlements, self._claims, self._again, strict=True
        ):
            if claim is None:
                accepted.append(True)
            elif again:
                accepted.append(False)
            elif settlement.requeue:
                accepted.append(link.count(self._store.sql(REQUEUE), claim) == 1)
            else:
                accepted.append(claim[0] in gone)
        return accepted

    def _follow(self, accepted: Sequence[bool]) -> tuple[list[Message], list[bytes]]:
        messages: list[Message] = []
        heads: list[bytes] = []
        for settlement, own, ok in zip(self._settlements, self._heads, accepted, strict=True):
            if ok:
                messages += settlement.follow
                heads += own
        return messages, heads

    def news(self, accepted: Sequence[bool]) -> Counter[str]:
        """Whom to wake afterwards."""
        held = [s for s, ok in zip(self._settlements, accepted, strict=True) if ok]
        follow = [message for s in held for message in s.follow]
        news = arrivals.news_of(follow, soon=self._store.options.poll_interval)
        news.update(
            arrivals.topic(s.delivery.queue) for s in held if s.requeue and s.delivery is not None
        )
        news.update(results.news_of(s.result for s in held if s.result is not None))
        return news
