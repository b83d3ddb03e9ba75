"""The whole diagnosis: each part bounded in time, and none able to spoil the others."""

from __future__ import annotations

import asyncio
import platform
import shutil
from pathlib import Path
from typing import Final

from services.registry.diagnosis.bounded import within
from services.registry.diagnosis.broker import BrokerDiagnosis
from services.registry.diagnosis.database import DatabaseDiagnosis, utc_now
from services.registry.diagnosis.report import (
    BrokerReport,
    DatabaseReport,
    DiagnosisReport,
    DiskReport,
    SettingsReport,
)

_DATABASE_S: Final = 8.0
_BROKER_S: Final = 15.0
_DISK_S: Final = 3.0
"""Above what each needs with its own limits, which tell better what is wrong."""


class Diagnosis:
    """Who asks while one is under way gets that one, so that many askers cost no more than one."""

    def __init__(
        self, *, version: str, settings: SettingsReport, database: DatabaseDiagnosis, broker: BrokerDiagnosis
    ) -> None:
        self._version = version
        self._settings = settings
        self._database = database
        self._broker = broker
        self._under_way: asyncio.Task[DiagnosisReport] | None = None

    async def report(self) -> DiagnosisReport:
        """What there is to tell now, within about ten seconds. It never fails as a whole, and changes nothing."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._report())
        return await asyncio.shield(self._under_way)

    async def _report(self) -> DiagnosisReport:
        database, broker, disk = await asyncio.gather(
            within(_DATABASE_S, self._database.report(), otherwise=DatabaseReport(problem="slow"), name="database"),
            within(_BROKER_S, self._broker.report(), otherwise=BrokerReport(problem="slow"), name="broker"),
            within(_DISK_S, asyncio.to_thread(_disk), otherwise=None, name="disk"),
        )
        return DiagnosisReport(
            version=self._version,
            python=platform.python_version(),
            settings=self._settings,
            database=database,
            broker=broker,
            disk=disk,
            time=utc_now(),
        )


def _disk() -> DiskReport | None:
    try:
        usage = shutil.disk_usage(Path.cwd())
    except OSError:
        return None
    return DiskReport(free_bytes=usage.free, total_bytes=usage.total)
