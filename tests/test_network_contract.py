"""What holds for every network: the suite that other packages run, too, with our rows."""

from announcer.contract import Contract
from announcer.networks import available
from tests.rows import ROWS


def test_every_network_has_a_row() -> None:
    assert {row.network for row in ROWS} == set(available())


class TestContract(Contract):
    rows = ROWS
