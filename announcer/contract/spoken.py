"""The contract for networks that are not asked by HTTP, such as mail.

The same promises, kept before a server of their own kind that misbehaves as it is told.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import ClassVar, Protocol

import pytest

from announcer import connection, wire
from announcer.contract.suite import POST, SECRET, Promises, Requirement, said_by, those
from announcer.network import (
    DeliveryError,
    ForgetfulMemory,
    Network,
    Receipt,
    Refused,
    Repeat,
    TryLater,
    Unsure,
)


class Behaviour(StrEnum):
    """What a peer does with whoever comes. All but the last four happen before a post is up."""

    DEAF = "takes the connection and says nothing"
    NONSENSE = "says what no server of its kind says"
    HANGS_UP = "ends the connection at once"
    LOCKED_OUT = "refuses our credentials"
    BUSY = "says: later"
    REFUSES = "refuses the post, and would again"
    SILENT = "takes the post and does not say so"
    CUTS = "takes the post and ends the connection before it says so"
    GOOD = "takes the post and says so"


FAILURES = [one for one in Behaviour if one is not Behaviour.GOOD]


class Peer(Protocol):
    """A server on loopback that speaks the protocol, for one test."""

    port: int
    behaviour: Behaviour
    shown: list[str]
    """The texts that a second party was shown, in order."""
    identities: list[str]
    """By what the other side would fold repeats, such as an event's id; one for each of *shown*."""


@dataclass(frozen=True)
class Spoken:
    """One network, and a server for it."""

    network: type[Network]
    settings: Callable[[int], Mapping[str, str]]
    """Its fields, for a server at this port, with SECRET, in its form, in every secret one."""
    peer: Callable[[], AbstractContextManager[Peer]]
    cannot: Mapping[Behaviour, str] = field(default_factory=dict)
    """What the protocol has no way to do, with the reason."""
    form: Callable[[str], str] = str
    """What a secret of this network looks like, made of any word."""

    @property
    def secret(self) -> str:
        return self.form(SECRET)

    @property
    def name(self) -> str:
        return self.network.__name__.lower()

    def make(self, port: int = 9) -> Network:
        return self.network.model_validate(self.settings(port))


def can(*behaviours: Behaviour) -> Requirement:
    return lambda row: isinstance(row, Spoken) and not set(behaviours) & set(row.cannot)


class SpokenContract(Promises):
    """A subclass whose name begins with `Test` has *rows*."""

    rows: ClassVar[Sequence[Spoken]] = ()

    @pytest.fixture
    def row(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Spoken:
        monkeypatch.setattr(wire, "READ", 0.4)
        monkeypatch.setattr(wire, "TOTAL", 2.0)
        row: Spoken = request.param
        return row

    @pytest.fixture
    def peer(self, row: Spoken) -> Iterator[Peer]:
        with row.peer() as peer:
            yield peer

    @pytest.fixture
    def network(self, row: Spoken, peer: Peer) -> Network:
        return row.make(peer.port)

    def test_a_good_answer_becomes_a_receipt(self, network: Network, peer: Peer) -> None:
        receipt = network.publish(POST)
        assert receipt.id
        assert len(peer.shown) == 1

    def test_the_words_leave_as_they_are(self, network: Network, peer: Peer) -> None:
        network.publish(POST)
        words = "Kestrel Workshop is live: a dovetail drawer https://live.example.org #owncast"
        assert words in peer.shown[0]

    def test_e01_where_nobody_listens_nothing_was_posted(self, row: Spoken) -> None:
        with row.peer() as peer:
            network = row.make(peer.port)
        with pytest.raises(TryLater):
            network.publish(POST)

    @pytest.mark.parametrize("behaviour", [Behaviour.DEAF, Behaviour.NONSENSE, Behaviour.HANGS_UP])
    def test_e02_what_ends_before_the_post_left_posted_nothing(
        self, row: Spoken, network: Network, peer: Peer, behaviour: Behaviour
    ) -> None:
        peer.behaviour = behaviour
        # Where the post leaves with the first byte, nobody can be sure.
        with pytest.raises(Unsure if behaviour in row.cannot else TryLater):
            network.publish(POST)
        assert peer.shown == []

    @those(can(Behaviour.SILENT))
    def test_e02_a_post_that_nobody_confirmed_may_be_up(self, network: Network, peer: Peer) -> None:
        peer.behaviour = Behaviour.SILENT
        with pytest.raises(Unsure):
            network.publish(POST)
        assert len(peer.shown) == 1, "a network never tries again by itself"

    @those(can(Behaviour.CUTS))
    def test_e03_a_connection_cut_after_the_post_is_unclear(
        self, network: Network, peer: Peer
    ) -> None:
        peer.behaviour = Behaviour.CUTS
        with pytest.raises(Unsure):
            network.publish(POST)
        assert len(peer.shown) == 1, "a network never tries again by itself"

    @those(can(Behaviour.BUSY))
    def test_who_says_later_is_asked_later(self, network: Network, peer: Peer) -> None:
        peer.behaviour = Behaviour.BUSY
        with pytest.raises(TryLater):
            network.publish(POST)
        assert peer.shown == []

    @those(can(Behaviour.REFUSES))
    def test_a_post_that_is_refused_is_not_tried_again(self, network: Network, peer: Peer) -> None:
        peer.behaviour = Behaviour.REFUSES
        with pytest.raises(Refused) as refusal:
            network.publish(POST)
        assert not refusal.value.closes
        assert peer.shown == []

    @those(can(Behaviour.LOCKED_OUT))
    def test_credentials_that_are_refused_close_the_destination(
        self, network: Network, peer: Peer
    ) -> None:
        peer.behaviour = Behaviour.LOCKED_OUT
        with pytest.raises(Refused) as refusal:
            network.publish(POST)
        assert refusal.value.closes
        assert peer.shown == []

    @pytest.mark.parametrize("behaviour", FAILURES)
    def test_no_secret_is_shown(
        self, row: Spoken, network: Network, peer: Peer, behaviour: Behaviour
    ) -> None:
        peer.behaviour = behaviour
        said = repr(network) + str(network)
        if behaviour not in row.cannot:
            with pytest.raises(DeliveryError) as error:
                network.publish(POST)
            said += said_by(error.value)
        assert row.secret not in said

    @those(lambda row: row.network.repeat in (Repeat.HARMLESS, Repeat.WINDOW))
    def test_a_repeat_is_the_same_to_who_folds_them(
        self, row: Spoken, network: Network, peer: Peer
    ) -> None:
        network.publish(POST)
        again = row.make(peer.port)  # after a restart
        again.remember_in(ForgetfulMemory())
        again.publish(POST)
        assert len(set(peer.identities)) == 1

    def test_g07_nothing_leaves_after_our_turn(self, network: Network, peer: Peer) -> None:
        past = connection.now() - timedelta(seconds=1)
        with pytest.raises(TryLater), connection.not_after(past):
            network.publish(POST)
        assert peer.shown == []

    def test_a_check_posts_nothing(self, network: Network, peer: Peer) -> None:
        assert network.check().handle
        assert peer.shown == []

    def test_a_post_is_told_by_its_receipt(self, network: Network) -> None:
        first = network.publish(POST)
        assert isinstance(first, Receipt)
        assert first.note == ""
