"""`python -m cli`, which is what the command `pullsync` runs."""

from __future__ import annotations

from cli.main import main

main()
