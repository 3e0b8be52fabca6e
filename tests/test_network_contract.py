"""What holds for every network: the suite that other packages run, too, with our rows."""

from announcer.contract import Contract, SpokenContract
from announcer.networks import available
from tests.rows import EVERY, ROWS, SPOKEN


def test_every_network_has_a_row() -> None:
    assert {row.network for row in EVERY} == set(available())


class TestContract(Contract):
    rows = ROWS


class TestSpokenContract(SpokenContract):
    rows = SPOKEN
