"""No decoder of foreign bytes breaks its promise: on the seeds, on all that was ever found, and on what comes of them.

The long form, led by coverage, is `make fuzz`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.seeds import CORPUS, PIECES, seeds
from tests.fuzz.targets import TARGETS

LONGEST_CUT: Final = 40
EDITS: Final = 4

every_target = pytest.mark.parametrize("name", TARGETS)


def test_each_target_has_seeds_and_each_seed_a_target() -> None:
    """Else a decoder would be left out, and nobody would see it."""
    assert {path.name for path in CORPUS.iterdir()} == set(TARGETS)


@every_target
def test_some_seeds_are_taken_and_others_refused(name: str) -> None:
    """On every seed the promise holds; and they lead both into the decoder and to its refusals."""
    assert {TARGETS[name](seed) for seed in seeds(name).values()} == {True, False}


@st.composite
def damaged(draw: st.DrawFn, whole: Sequence[bytes]) -> bytes:
    """A seed in which something is cut out, put in, or both, some times over."""
    data = draw(st.sampled_from(whole))
    pieces = st.sampled_from([b"", *PIECES]) | st.binary(max_size=4) | st.sampled_from(whole)
    for _ in range(draw(st.integers(0, EDITS))):
        begin = draw(st.integers(0, len(data)))
        end = draw(st.integers(begin, min(len(data), begin + LONGEST_CUT)))
        data = data[:begin] + draw(pieces) + data[end:]
    return data


@every_target
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_no_damage_breaks_a_promise(name: str, data: st.DataObject) -> None:
    """Wherever bytes are lost, and whatever stands in their place."""
    TARGETS[name](data.draw(damaged(tuple(seeds(name).values()))))
