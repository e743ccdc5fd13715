"""Fuzz test of `cart serve`: no server error, no lost worker, no memory growth."""

from pathlib import Path

import pytest

from tests.support.raw_fuzz import fuzz

SEED = 17


def test_a_few_hundred_inputs(tmp_path: Path) -> None:
    report = fuzz(tmp_path, seed=SEED, inputs=600, seconds=120)
    assert not report.failures
    assert report.health_checks > 0


@pytest.mark.soak
def test_many_inputs(tmp_path: Path) -> None:
    report = fuzz(tmp_path, seed=SEED, inputs=20_000, seconds=1_800)
    assert not report.failures
    assert report.slowest < 0.2, f"{report.slowest:.3f} s for /healthz"
    print(report.table())
