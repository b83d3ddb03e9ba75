"""Whether the tables are as they must be: no figure counts when something is lost, doubled or miscounted."""

from __future__ import annotations

from typing import Final

import asyncpg

_COUNTS: Final = """
SELECT (SELECT count(*) FROM captures.events) AS events,
       (SELECT events FROM captures.totals) AS total_events,
       (SELECT count(*) FROM (SELECT DISTINCT user_id, pokemon_id FROM captures.events WHERE NOT removed) AS t) AS held,
       (SELECT count(*) FROM captures.holdings WHERE held) AS holdings,
       (SELECT holdings FROM captures.totals) AS total_holdings,
       (SELECT coalesce(sum(holdings), 0) FROM captures.holders) AS of_holders,
       (SELECT coalesce(sum(holders), 0) FROM captures.ranking) AS in_ranking,
       (SELECT quarantined FROM captures.totals) AS quarantined
"""
_WRONG: Final = """
WITH held AS (SELECT DISTINCT user_id, pokemon_id FROM captures.events WHERE NOT removed)
SELECT (SELECT count(*) FROM (
           SELECT user_id, count(*) FROM held GROUP BY user_id
           EXCEPT SELECT user_id, holdings FROM captures.holders) AS t) AS holders,
       (SELECT count(*) FROM (
           SELECT pokemon_id, count(*) FROM held GROUP BY pokemon_id
           EXCEPT SELECT pokemon_id, holders FROM captures.ranking) AS t) AS ranking
"""
"""Users and Pokémon that are counted wrongly."""


async def check_tables(connection: asyncpg.Connection | asyncpg.Pool, *, captures: int) -> None:
    """Every capture is stored once, and holdings, holders, ranking and totals say so. Simulated clients remove nothing.

    Raises:
        AssertionError: it is not so.
    """
    counts = dict(await connection.fetchrow(_COUNTS) or {})
    assert counts["events"] == counts["total_events"] == captures, (captures, counts)
    held = {counts[name] for name in ("held", "holdings", "total_holdings", "of_holders", "in_ranking")}
    assert len(held) == 1, counts
    assert counts["quarantined"] == 0, counts
    wrong = dict(await connection.fetchrow(_WRONG) or {})
    assert not any(wrong.values()), wrong
