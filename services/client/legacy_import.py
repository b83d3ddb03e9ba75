"""Takes over `client-sync-data.json`, in which the original client keeps its captures.

Each capture in it may exist nowhere else. So the file is never changed, and one that can't be read in full stops the
start instead of being taken for empty, which is how the original lost captures.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Final

import structlog
from pydantic import TypeAdapter, ValidationError

from services.client.errors import StoreUnavailableError
from services.client.store import ForeignCapture
from shared.contracts.client_protocol import Capture
from shared.contracts.times import UtcDatetime
from shared.errors import StartupError

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path
    from typing import NoReturn

    from services.client.ownership import Ownership
    from services.client.store import CaptureStore

_MOST_NAMED: Final = 10

log = structlog.get_logger()


@dataclass(frozen=True, kw_only=True, slots=True)
class LegacyData:
    """What the file holds."""

    captures: list[ForeignCapture]
    last_sync: datetime | None


async def import_once(*, store: CaptureStore, path: Path, ownership: Ownership) -> None:
    """Import the file, unless this store did so before or there is none.

    Raises:
        StartupError: the file is damaged, has captures of others, or the database can't be used; nothing was imported.
    """
    try:
        if await store.has_imported():
            return
        data = read_legacy_file(path)
        if data is None:
            return
        others = Counter(
            user for each in data.captures if (user := each.capture.user_id) not in (None, ownership.user_id)
        )
        ownership.check(others, where=f"the file {path}", setting="CLIENT_IMPORT_FILE")
        imported = await store.import_all(data.captures, last_sync=data.last_sync, source=str(path))
    except StoreUnavailableError as error:
        message = f"{path} can't be imported, because the database can't be used: {error}; {error.remedy}"
        raise StartupError(message) from error
    if imported.renamed:
        some = dict(islice(imported.renamed.items(), _MOST_NAMED))
        log.warning("capture_ids_were_shared", file=str(path), captures=len(imported.renamed), new_ids=some)
    log.info("legacy_file_imported", file=str(path), captures=len(data.captures), new=imported.new)


def read_legacy_file(path: Path) -> LegacyData | None:
    """All captures in the file, in its order; nothing when there is no such file.

    Raises:
        StartupError: it can't be read; the text names the file, what is wrong in it, and what to do.
    """
    try:
        return _read(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        message = (
            f"{path.absolute()} can't be imported: {error}. Nothing was imported and the file is as it was; "
            "repair it (or move it away to start without its captures), then start again"
        )
        raise StartupError(message) from error


def _read(content: bytes) -> LegacyData:
    try:
        document = json.loads(content, parse_constant=_refuse_constant)
    except ValueError as error:
        message = f"it is not JSON ({error})"
        raise ValueError(message) from error
    if not isinstance(document, dict) or not isinstance(document.get("captures"), list):
        message = 'it is not an object with a list "captures"'
        raise ValueError(message)  # noqa: TRY004 - told to the user like all other damage
    captures = [_read_capture(number, item) for number, item in enumerate(document["captures"], start=1)]
    return LegacyData(captures=captures, last_sync=_read_last_sync(document.get("last_sync")))


def _read_capture(number: int, item: object) -> ForeignCapture:
    try:
        # By way of JSON: the strict models read times from JSON only, and what they take any reader can be served.
        capture = Capture.model_validate_json(json.dumps(item, allow_nan=False))
    except ValidationError as error:
        message = f"capture number {number} is damaged ({_first_problem(error)})"
        raise ValueError(message) from error
    except ValueError as error:
        message = f"capture number {number} is damaged ({error})"
        raise ValueError(message) from error
    metadata = item.get("metadata") if isinstance(item, dict) else None
    return ForeignCapture(capture=capture, metadata=json.dumps(metadata or {}))


def _read_last_sync(value: object) -> datetime | None:
    reader: TypeAdapter[datetime | None] = TypeAdapter(UtcDatetime | None)
    try:
        return reader.validate_json(json.dumps(value))
    except ValidationError as error:
        message = f"last_sync is damaged ({_first_problem(error)})"
        raise ValueError(message) from error


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    return f"{where}: {problem['msg']}" if where else problem["msg"]


def _refuse_constant(name: str) -> NoReturn:
    message = f"{name} is no JSON number"
    raise ValueError(message)
