"""What `docker-compose.pitr.yml` and the scripts that it mounts promise, as far as it can be told without an engine."""

from __future__ import annotations

import re
import subprocess
from typing import Any, Final

import pytest
import yaml

from tests.unit.test_compose import ROOT

SCRIPTS: Final = ROOT / "deploy" / "backup"


@pytest.fixture(scope="module")
def mounts() -> list[Any]:
    """All that the file says: what else PostgreSQL sees."""
    found = yaml.safe_load((ROOT / "docker-compose.pitr.yml").read_text(encoding="utf-8"))
    assert list(found) == ["services"]
    assert list(found["services"]) == ["postgres"]
    assert list(found["services"]["postgres"]) == ["volumes"]  # so the settings of the other files stay
    return list(found["services"]["postgres"]["volumes"])


def test_postgres_sees_the_scripts_and_the_archive(mounts: list[Any]) -> None:
    """Where the settings look for them; and the engine makes no folder of root's in place of one that is missing."""
    settings = (SCRIPTS / "archiving.sql").read_text(encoding="utf-8")
    scripts, archive = mounts
    source, target, mode = scripts.split(":")
    assert (ROOT / source, mode) == (SCRIPTS, "ro,z")
    assert f"\\set scripts {target} " in settings
    assert (archive["type"], archive["bind"]["create_host_path"]) == ("bind", False)
    assert f"\\set archive {archive['target']} " in settings


def test_the_base_backup_is_let_in_beside_tls() -> None:
    """From within the container alone, as the image's own rules have it."""
    lines = (ROOT / "deploy" / "postgres" / "pg_hba.conf").read_text(encoding="utf-8").splitlines()
    rules = [line.split() for line in lines if "replication" in line.split()]
    assert rules == [["local", "replication", "all", "trust"]]


@pytest.mark.parametrize("name", sorted(path.name for path in SCRIPTS.glob("*.sh")))
def test_the_scripts_are_those_of_any_shell(name: str) -> None:
    """They parse, and use nothing that only bash has."""
    text = (SCRIPTS / name).read_text(encoding="utf-8")
    subprocess.run(["/bin/sh", "-n", str(SCRIPTS / name)], check=True)  # noqa: S603 - it is only parsed
    assert not re.search(r"\[\[|\blocal \w|\bfunction \w|<<<|pipefail", text)


def test_what_backups_leave_is_not_checked_in() -> None:
    """Neither a backup, nor half of one, nor the archive."""
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert {"*.dump", "*.dump.unfinished.*", "/archive/"} <= set(ignored)
