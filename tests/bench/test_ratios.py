from __future__ import annotations

import pytest

from bench.ratios import Spread, cpu_per_unit, named, paired, spread


def test_a_ratio_is_taken_within_each_pair_and_never_between_two() -> None:
    # The machine became ten times slower in the second pair: nothing changed between the servers.
    pairs = [({"rate": 200.0}, {"rate": 100.0}), ({"rate": 20.0}, {"rate": 10.0})]
    assert paired(pairs, named("rate")) == Spread(2.0, 2.0, 2.0)


def test_the_spread_is_median_least_and_most() -> None:
    assert spread([3.0, 1.0, 10.0]) == Spread(3.0, 1.0, 10.0)
    assert spread([]) is None


def test_a_pair_without_the_figure_or_with_a_zero_says_nothing() -> None:
    pairs = [({"rate": 1.0}, {}), ({"rate": 1.0}, {"rate": 0.0}), ({"rate": 3.0}, {"rate": 2.0})]
    assert paired(pairs, named("rate")) == Spread(1.5, 1.5, 1.5)


def test_processor_time_is_for_a_unit_of_the_rate_so_that_calls_of_different_size_compare() -> None:
    few_large = {"server_cpu_share": 0.5, "entries_per_second": 1000.0, "calls_per_second": 1.0}
    many_small = {"server_cpu_share": 0.5, "entries_per_second": 1000.0, "calls_per_second": 50.0}
    value = cpu_per_unit("entries_per_second")
    assert value(few_large) == value(many_small) == pytest.approx(500.0)


def test_processor_time_of_nothing_has_no_value() -> None:
    assert cpu_per_unit("calls_per_second")({"server_cpu_share": 0.5, "calls_per_second": 0.0}) is None
    assert cpu_per_unit("calls_per_second")({"calls_per_second": 10.0}) is None
