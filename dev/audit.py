"""`python -m dev.audit` (or `make audit`): asks whether the packages in use have vulnerabilities that are known.

The answers come from the package index. Where it can't be reached, nothing was audited, and that is said. The status is
0 when all was audited and nothing found, 1 when something was found, 3 when something was not audited.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, Final

from dev.stack import CHECKOUT

FOUND: Final = 1
NOT_AUDITED: Final = 3
_FILES: Final = (
    "requirements.txt",
    "requirements-dev.txt",
    "benchmarks/requirements.txt",
    "tests/fuzz/requirements.txt",
)
_TIMEOUT_S: Final = 300


def main() -> int:
    """Audit each file of requirements; gives the exit status."""
    statuses = {_audit(name) for name in _FILES}
    return FOUND if FOUND in statuses else max(statuses)


def _audit(name: str) -> int:
    """Ask about one file, and print what came of it."""
    try:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "pip_audit", "--requirement", name, "--require-hashes", "--disable-pip"),
                *("--format", "json", "--progress-spinner", "off"),
            ],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        packages = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        return _not_audited(name, f"no answer within {_TIMEOUT_S} s")
    except ValueError:
        return _not_audited(name, (done.stderr.strip() or "pip-audit said nothing").splitlines()[-1])
    return _report(name, packages)


def _not_audited(name: str, why: str) -> int:
    print(f"{name}: NOT AUDITED, so nothing is known of these: {why}")
    return NOT_AUDITED


def _report(name: str, packages: list[dict[str, Any]]) -> int:
    found = list(_vulnerabilities(packages))
    for line in found:
        print(f"{name}: {line}")
    skipped = [package for package in packages if "skip_reason" in package]
    print(f"{name}: {len(packages) - len(skipped)} packages audited, {len(found)} vulnerabilities")
    if skipped:
        first = skipped[0]
        _not_audited(name, f"{len(skipped)} packages, such as {first['name']}: {first['skip_reason']}")
    if found:
        return FOUND
    return NOT_AUDITED if skipped else 0


def _vulnerabilities(packages: list[dict[str, Any]]) -> Iterator[str]:
    for package in packages:
        for vulnerability in package.get("vulns", ()):
            mended = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            yield f"{package['name']} {package['version']}: {vulnerability['id']}, mended in {mended}"


if __name__ == "__main__":
    sys.exit(main())
