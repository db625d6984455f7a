"""How the core is found, and how many threads it takes."""

from __future__ import annotations

import pytest

from vqcodec.native.library import thread_count, threads_among


def test_calls_side_by_side_share_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VQCODEC_THREADS", "8")
    for calls, each in ((1, 8), (3, 2), (20, 1)):
        with threads_among(calls):
            assert thread_count() == each
    assert thread_count() == 8
