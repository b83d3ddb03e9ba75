"""Backup and restore by the steps of docs/backup.md."""

from __future__ import annotations

import json
from functools import partial
from typing import Any, Final

from tests.compose.captures import Captures
from tests.compose.documents import steps
from tests.compose.project import Project, until

_DOCUMENT: Final = "docs/backup.md"


def and_restore(project: Project, captures: Captures) -> None:
    """A file of the whole, more captures, an empty server, the file; then what was captured since is brought back."""
    [keep, *_] = steps(_DOCUMENT, "Back up")
    captures.flow_again_after("backup", partial(project.script, keep))
    [made] = project.folder.glob("pullsync-*.dump")
    restore, make_room = steps(_DOCUMENT, "Restore")
    project.script(make_room.replace("pullsync_postgres-data", f"{project.name}_postgres-data"))
    command = restore.replace("pullsync-20261126T1840Z.dump", made.name)
    captures.flow_again_after("restore", partial(project.script, command))
    _bring_back(project)


def and_restore_to_a_moment(project: Project, captures: Captures) -> None:
    """Archiving and a base backup, captures, a moment, more captures; then back to the moment, and what is missing."""
    archive, look, go_back = steps(_DOCUMENT, "To any moment")
    captures.flow_again_after("archiving from now on", partial(project.script, archive.replace("sudo ", "")))
    project.env["COMPOSE_FILE"] = "docker-compose.yml:docker-compose.pitr.yml"
    [moment] = project.rows("SELECT date_trunc('second', now())")
    captures.flow_again("nothing: after the moment")
    project.script(look)
    [base] = (project.folder / "archive").glob("base-*")
    command = go_back.replace("base-20261126T0300Z", base.name).replace("2026-11-26 18:30:00+00", moment)
    captures.flow_again_after("restore to a moment", partial(project.script, command))
    _bring_back(project)


def _bring_back(project: Project) -> None:
    """Repeated until no client failed, as the document says."""
    begin, look, _failed = steps(_DOCUMENT, "Captures that were stored after the backup")[0].splitlines()
    port = f":{project.ports['REGISTRY_PORT']}/"

    def asked(command: str, run: str = "") -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(project.script(command.replace(":8000/", port).replace("RUN_ID", run)))
        return answer

    def compared() -> bool:
        run = asked(begin)["run_id"]
        until(lambda: asked(look, run)["state"] == "finished", "everything is compared")
        return bool(asked(look, run)["failed"] == 0)

    until(compared, "no client failed to be compared")
