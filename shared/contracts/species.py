"""The names of known species, out of the file that is shipped: no client can rename them."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Final

FILE: Final = Path(__file__).with_name("species.csv")


def shipped_species() -> dict[int, str]:
    """Names by number, as `species.csv` has them; `species.md` tells where they come from.

    Raises:
        ValueError: the file has a number twice.
    """
    with FILE.open(encoding="utf-8", newline="") as file:
        rows = [(int(row["pokemon_id"]), row["name"]) for row in csv.DictReader(file)]
    species = dict(rows)
    if len(species) != len(rows):
        message = f"{FILE.name} has a number twice"
        raise ValueError(message)
    return species
