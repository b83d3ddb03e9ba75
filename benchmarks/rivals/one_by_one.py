"""`python -m benchmarks.rivals.one_by_one POSTGRES_URL < urls`: one client after the other, a commit for each capture.

So the original works. Each client is then told, as it must be. Prints a line of JSON: seconds of the run.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from datetime import datetime

import asyncpg
import httpx

TABLE = """
CREATE TABLE one_by_one (
    user_id text, capture_id text, pokemon_id integer, pokemon_name text, action text, captured_at timestamptz,
    PRIMARY KEY (user_id, capture_id)
)
"""
INSERT = "INSERT INTO one_by_one VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"


async def main(postgres_url: str, urls: list[str]) -> None:
    """Measured without the start of the program."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(TABLE)
    begun = time.perf_counter()
    async with httpx.AsyncClient(timeout=15, trust_env=False) as http:
        for url in urls:
            answer = (await http.get(f"{url}/api/client/sync-data")).raise_for_status().json()
            for capture in answer["captures"]:
                await connection.execute(
                    INSERT,
                    answer["user_id"],
                    capture["capture_id"],
                    capture["pokemon_id"],
                    capture["pokemon_name"],
                    capture["action"],
                    datetime.fromisoformat(capture["timestamp"]),
                )
            told = {"capture_ids": [capture["capture_id"] for capture in answer["captures"]]}
            (await http.post(f"{url}/api/client/acknowledge", json=told)).raise_for_status()
    print(json.dumps({"seconds": time.perf_counter() - begun}))
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.stdin.read().split()))
