"""A look at all that the registry needs, for operators and for `pullsync doctor`."""

from __future__ import annotations

from fastapi import APIRouter

from services.registry.diagnosis.diagnosis import Diagnosis
from services.registry.diagnosis.report import DiagnosisReport


class DiagnosisRoutes:
    """`/api/v1/admin/diagnosis`."""

    def __init__(self, *, diagnosis: Diagnosis) -> None:
        self._diagnosis = diagnosis

    def router(self) -> APIRouter:
        """To be included by the app."""
        router = APIRouter(prefix="/api/v1/admin", tags=["system"])
        router.get("/diagnosis")(self.diagnosis)
        return router

    async def diagnosis(self) -> DiagnosisReport:
        """Versions, tables, queues, clocks, disk: what can be told of database, broker and this machine.

        It answers 200 whatever is away, within about ten seconds; `pullsync doctor` says what to do about it.
        """
        return await self._diagnosis.report()
