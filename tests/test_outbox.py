"""The durable middle, on both databases: who may send, what survives, what is refused."""

import multiprocessing
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from multiprocessing.queues import Queue
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import op

from announcer import migrations, outbox, policy
from announcer.migrations import SchemaTooNew
from announcer.network import Moment, Receipt
from announcer.outbox import LEASE, Claim, DestinationMemory, Outbox, StorageError, Try, database
from announcer.policy import Broadcast, Entry, Hush, State
from tests.fakes import NOW, event, open_box

SECOND = timedelta(seconds=1)
SHOW = Broadcast("b1", "default", NOW, NOW, NOW, name="Kestrel", title="Drawers", connected=NOW)
DUE = Entry(
    key="b1/live/fake",
    broadcast="b1",
    channel="default",
    moment=Moment.LIVE,
    destination="fake",
    state=State.DUE,
    wanted=Moment.LIVE,
    shown=None,
    next_at=NOW,
    until=NOW + timedelta(minutes=30),
)
RECEIPT = Receipt("7", "https://fake.test/7", {"cid": "bafy", "uri": "at://x"})


on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "announcer.db"


@pytest.fixture
def box(database_url: str) -> Iterator[Outbox]:
    box = open_box(database_url)
    yield box
    box.engine.dispose()


def put(box: Outbox, *entries: Entry, show: Broadcast = SHOW) -> None:
    with box.transaction("default") as stored:
        stored.put_broadcast(show)
        for entry in entries:
            stored.put_entries([entry], NOW)


def to(destination: str, show: str = "b1", **fields: object) -> Entry:
    named = {"key": f"{show}/live/{destination}", "destination": destination, "broadcast": show}
    return replace(DUE, **named | fields)  # type: ignore[arg-type]  # fields by name


def claim(box: Outbox, owner: str = "me") -> Claim:
    put(box, DUE)
    (claimed,) = box.claim(owner, NOW, limit=9)
    return claimed


def stored(box: Outbox, key: str = DUE.key) -> Entry:
    ((_, posts),) = box.history(1)
    (entry,) = (post.entry for post in posts if post.entry.key == key)
    return entry


# Claims


def claim_all(box: Outbox, owner: str) -> list[str]:
    """Claim until nothing is left, and settle each, as delivery does."""
    mine = []
    while claims := box.claim(owner, NOW, limit=5):
        for one in claims:
            mine.append(one.entry.key)
            assert box.store(one, policy.settled(one.entry), NOW, None, RECEIPT)
    return mine


def claim_in_a_process(url: str, owner: str, start: object, mine: "Queue[list[str]]") -> None:
    box = open_box(url)
    start.wait()  # type: ignore[attr-defined]  # a Barrier, whose class is a function there
    mine.put(claim_all(box, owner))


def many(box: Outbox) -> list[str]:
    """90 posts for 30 destinations."""
    entries = []
    for number in range(3):
        show = replace(SHOW, id=f"b{number}", began=NOW + number * SECOND)
        told = [to(f"d{n}", show.id, next_at=NOW - n * SECOND) for n in range(30)]
        put(box, *told, show=show)
        entries += told
    return sorted(entry.key for entry in entries)


def test_threads_claim_every_post_exactly_once(box: Outbox) -> None:
    keys, start = many(box), threading.Barrier(6)
    mine: list[str] = []

    def work(owner: str) -> None:
        start.wait()
        mine.extend(claim_all(box, owner))

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(mine) == keys


def test_two_processes_claim_every_post_exactly_once(box: Outbox, database_url: str) -> None:
    keys = many(box)
    system = multiprocessing.get_context("spawn")
    start, mine = system.Barrier(2), system.Queue()
    workers = [
        system.Process(target=claim_in_a_process, args=(database_url, f"p{n}", start, mine))
        for n in range(2)
    ]
    for worker in workers:
        worker.start()
    claimed = [mine.get(timeout=30) for _ in workers]
    for worker in workers:
        worker.join()
    assert sorted(key for some in claimed for key in some) == keys


def test_a_destination_has_one_post_in_flight_and_the_oldest_goes_first(box: Outbox) -> None:
    second = replace(SHOW, id="b2", began=NOW + SECOND)
    put(box, to("fake", next_at=NOW - SECOND))
    put(box, to("fake", "b2", next_at=NOW - 2 * SECOND), show=second)
    (first,) = box.claim("me", NOW, limit=9)
    assert first.entry.broadcast == "b2"
    assert box.claim("you", NOW, limit=9) == []
    assert box.store(first, policy.settled(first.entry), NOW, None, None)
    (then,) = box.claim("you", NOW, limit=9)
    assert then.entry.broadcast == "b1"


def test_the_database_itself_holds_two_in_flight_for_a_mistake(box: Outbox) -> None:
    claim(box)
    with pytest.raises(sa.exc.IntegrityError):
        put(box, to("fake", "b2", state=State.SENDING), show=replace(SHOW, id="b2"))


@pytest.mark.parametrize(
    "entry",
    [
        pytest.param(replace(DUE, next_at=NOW + SECOND), id="not yet due"),
        *[
            pytest.param(replace(DUE, state=state), id=state.value)
            for state in State
            if state is not State.DUE
        ],
    ],
)
def test_what_is_not_due_is_not_claimed(box: Outbox, entry: Entry) -> None:
    put(box, entry)
    assert box.claim("me", NOW, limit=9) == []


def test_a_claim_counts_the_try_before_it_is_made(box: Outbox) -> None:
    claimed = claim(box)
    assert claimed.entry == replace(DUE, state=State.SENDING, tries=1)
    assert (claimed.owner, claimed.content, claimed.receipt) == ("me", None, None)


def test_no_more_are_claimed_than_asked_for(box: Outbox) -> None:
    put(box, to("one"), to("two"), to("three"))
    assert len(box.claim("me", NOW, limit=2)) == 2


# Lease and owner


def test_a_lease_lasts_and_is_then_taken_over(box: Outbox) -> None:
    claim(box, "first")
    assert box.abandoned("second", NOW + LEASE) == []
    (taken,) = box.abandoned("second", NOW + LEASE + SECOND)
    assert (taken.entry.key, taken.owner, taken.left) == (DUE.key, "second", None)


def test_who_takes_over_learns_when_the_last_try_left_and_what_it_sent(box: Outbox) -> None:
    assert box.freeze(claim(box, "first"), "words", NOW + SECOND)
    assert box.abandoned("second", NOW + LEASE + SECOND) == []  # it counts from when it left
    (taken,) = box.abandoned("second", NOW + LEASE + 2 * SECOND)
    assert (taken.content, taken.left) == ("words", NOW + SECOND)


def test_a_new_claim_forgets_when_an_earlier_try_left(box: Outbox) -> None:
    first = claim(box)
    box.freeze(first, "words", NOW)
    box.store(first, replace(first.entry, state=State.DUE), NOW, None, None)
    box.claim("me", NOW, limit=1)
    (taken,) = box.abandoned("you", NOW + LEASE + SECOND)
    assert (taken.content, taken.left) == ("words", None)


def test_after_a_takeover_the_first_owner_may_neither_send_nor_store(box: Outbox) -> None:
    first = claim(box, "first")
    (second,) = box.abandoned("second", NOW + 2 * LEASE)
    assert not box.freeze(first, "words", NOW)
    assert not box.store(first, policy.settled(first.entry), NOW, _try("first"), RECEIPT)
    assert stored(box).state is State.SENDING
    assert box.freeze(second, "words", NOW)
    assert box.store(second, policy.settled(second.entry), NOW, _try("second"), RECEIPT)
    ((_, (post,)),) = box.history(1)
    assert [t.reason for t in post.tries] == ["second"]
    assert post.entry.state is State.SETTLED


def test_what_is_settled_is_not_stored_again(box: Outbox) -> None:
    mine = claim(box)
    assert box.store(mine, policy.settled(mine.entry), NOW, None, RECEIPT)
    assert not box.store(mine, replace(mine.entry, state=State.DUE), NOW, None, None)
    assert stored(box).state is State.SETTLED


def test_a_closed_account_is_remembered_until_it_is_opened_again(box: Outbox) -> None:
    box.close("fake", "print", "401", NOW)
    box.close("fake", "other print", "403", NOW)
    assert box.closed() == {"fake": ("other print", "403")}
    box.reopen("fake", NOW)
    assert box.closed() == {}


# What is stored


def _try(reason: str = "") -> Try:
    return Try(NOW, 0.5, "publish", "delivered", reason)


def test_what_was_stored_comes_back_as_it_was(box: Outbox, database_url: str) -> None:
    mine = claim(box)
    box.freeze(mine, '{"text": "🔴 \\u2028"}', NOW)
    doubtful = replace(
        mine.entry,
        state=State.DUE,
        doubtful_since=NOW + timedelta(microseconds=123456),
        generation=3,
        next_at=NOW + timedelta(seconds=1.5),
        reason="no answer in time",
    )
    assert box.store(mine, doubtful, NOW, _try(), RECEIPT)
    again = open_box(database_url)
    ((show, (post,)),) = again.history(9)
    (claimed,) = again.claim("me", NOW + 2 * SECOND, limit=1)
    again.engine.dispose()
    assert show == SHOW
    assert post.entry == doubtful
    assert (post.receipt, post.content) == (RECEIPT, '{"text": "🔴 \\u2028"}')
    assert list(post.tries) == [_try()]
    assert (claimed.receipt, claimed.content) == (RECEIPT, '{"text": "🔴 \\u2028"}')


def test_a_receipt_stays_if_a_later_answer_brings_none(box: Outbox) -> None:
    mine = claim(box)
    box.store(mine, replace(mine.entry, state=State.DUE), NOW, None, RECEIPT)
    (mine,) = box.claim("me", NOW, limit=1)
    box.store(mine, policy.settled(mine.entry), NOW, None, None)
    ((_, (post,)),) = box.history(1)
    assert post.receipt == RECEIPT


def test_what_intake_wants_meanwhile_survives_the_answer(box: Outbox) -> None:
    mine = claim(box)
    put(box, replace(mine.entry, wanted=Moment.ENDED))
    assert box.store(mine, policy.settled(mine.entry), NOW, None, RECEIPT)
    assert stored(box).wanted is Moment.ENDED
    assert stored(box).state is State.SETTLED


def test_a_claim_brings_all_that_delivery_must_know(box: Outbox) -> None:
    claims = []
    for number in range(3):
        show = replace(SHOW, id=f"b{number}", began=NOW + number * SECOND)
        put(box, to("fake", show.id), to("another", show.id), show=show)
        for mine in box.claim("me", NOW, limit=2):
            claims.append(mine)
            box.freeze(mine, f"words {number} for {mine.entry.destination}", NOW)
            box.store(mine, policy.settled(mine.entry), NOW + number * SECOND, None, None)
        box.close("fake", "print", "401", NOW)
    assert {(c.entry.destination, c.broadcast.id, c.last, c.closed) for c in claims} == {
        ("fake", "b0", None, None),
        ("another", "b0", None, None),
        ("fake", "b1", "words 0 for fake", ("print", "401")),
        ("another", "b1", "words 0 for another", None),
        ("fake", "b2", "words 1 for fake", ("print", "401")),
        ("another", "b2", "words 1 for another", None),
    }


def test_only_tries_to_publish_count_for_the_budget(box: Outbox) -> None:
    mine = claim(box)
    box.store(mine, replace(mine.entry, state=State.DUE), NOW, _try(), None)
    (mine,) = box.claim("me", NOW, limit=1)
    box.store(mine, policy.settled(mine.entry), NOW, replace(_try(), step="find"), None)
    assert box.published_since("fake", NOW) == 1
    assert box.published_since("fake", NOW + SECOND) == 0
    assert box.published_since("another", NOW) == 0


def test_memory_is_each_destinations_own_and_survives(box: Outbox, database_url: str) -> None:
    mine = DestinationMemory(box, "fake")
    assert mine.get("session") is None
    mine.put("session", "one")
    mine.put("session", "two")
    again = open_box(database_url)
    assert DestinationMemory(again, "fake").get("session") == "two"
    assert DestinationMemory(again, "another").get("session") is None
    again.engine.dispose()


def test_a_history_without_anything_is_empty(box: Outbox) -> None:
    assert box.history(10) == []
    put(box)
    assert box.history(10) == [(SHOW, [])]


def test_history_has_the_newest_first(box: Outbox) -> None:
    shows = [replace(SHOW, id=f"b{n}", began=NOW + n * SECOND) for n in range(3)]
    for show in shows:
        put(box, to("fake", show.id), show=show)
    found = box.history(2)
    assert [show.id for show, _ in found] == ["b2", "b1"]
    assert [post.entry.key for _, posts in found for post in posts] == [
        "b2/live/fake",
        "b1/live/fake",
    ]


# When to look again


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        pytest.param([], None, id="nothing waits"),
        pytest.param([to("a", state=State.SETTLED)], None, id="all is done"),
        pytest.param(
            [to("a", next_at=NOW + 9 * SECOND), to("b", next_at=NOW + 4 * SECOND)],
            NOW + 4 * SECOND,
            id="the earliest",
        ),
    ],
)
def test_the_next_look_is_at_the_earliest_due_time(
    box: Outbox, entries: Sequence[Entry], expected: object
) -> None:
    put(box, *entries)
    assert box.next_due() == expected


def test_what_waits_for_one_in_flight_is_not_looked_for_before_that_ends(box: Outbox) -> None:
    claim(box)
    put(box, to("fake", "b2"), show=replace(SHOW, id="b2"))
    assert box.next_due() == NOW + LEASE


# By hand


@pytest.mark.parametrize("state", list(State))
def test_g19_only_a_stuck_post_is_retried(box: Outbox, state: State) -> None:
    put(box, replace(DUE, state=state, wanted=Moment.ENDED, doubtful_since=NOW, reason="401"))
    entry = box.retry(DUE.key, NOW + SECOND, NOW + timedelta(hours=1))
    if state in (State.FAILED, State.UNSURE, State.WITHDRAWN):
        assert entry == replace(
            DUE,
            next_at=NOW + SECOND,
            until=NOW + timedelta(hours=1),
            change_until=NOW + timedelta(hours=1),
            generation=1,
            hush=Hush.OVERRULED,
            reason="tried again by hand",
        )
        assert box.retry(DUE.key, NOW, NOW) is None  # twice is once (G19)
    else:
        assert entry is None
        assert stored(box).state is state


def test_g19_two_hands_at_once_are_one_retry(box: Outbox) -> None:
    put(box, replace(DUE, state=State.FAILED))
    together, given = threading.Barrier(8), []

    def press() -> None:
        together.wait()
        given.append(box.retry(DUE.key, NOW, NOW + LEASE))

    hands = [threading.Thread(target=press) for _ in range(8)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    assert len(given) == 8
    assert sum(entry is not None for entry in given) == 1
    (claimed,) = box.claim("me", NOW, limit=9)
    assert claimed.entry.generation == 1, "a new key once, and not eight times"
    assert box.retry(DUE.key, NOW, NOW + LEASE) is None, "it is on its way"


def test_a_key_that_does_not_exist_is_not_retried(box: Outbox) -> None:
    assert box.retry("b9/live/fake", NOW, NOW) is None


# The file


@on_sqlite
def test_b07_what_is_acknowledged_is_on_the_disk(box: Outbox) -> None:
    with box.engine.connect() as connection:
        told = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    full = 2
    assert told == {
        "journal_mode": "wal",
        "synchronous": full,
        "foreign_keys": 1,
        "busy_timeout": 10_000,
    }


@on_sqlite
def test_nobody_else_on_the_machine_can_read_it(box: Outbox, file: Path) -> None:
    put(box, DUE)
    box.enlist()
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in file.parent.iterdir()}
    names = {f"announcer.db{end}" for end in ("", "-wal", "-shm", ".lock")}
    assert modes == dict.fromkeys(names, 0o600)


def test_a_transaction_that_breaks_leaves_nothing(box: Outbox) -> None:
    def break_off() -> None:
        with box.transaction("default") as transaction:
            transaction.put_broadcast(SHOW)
            transaction.put_entries([DUE], NOW)
            transaction.add(event(), "because", SHOW.id)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert box.history(1) == []
    with box.transaction("default") as transaction:
        assert not transaction.recall(event()).known


@on_sqlite
def test_b03_two_writers_wait_for_each_other(box: Outbox, file: Path) -> None:
    """A read that turns into a write would fail at once, whatever the timeout."""
    other, order = open_box(file), []
    began = threading.Event()

    def write() -> None:
        began.wait()
        with other.transaction("default") as transaction:
            order.append(transaction.recall(event()).past.broadcast)

    thread = threading.Thread(target=write)
    thread.start()
    with box.transaction("default") as transaction:
        began.set()
        transaction.put_broadcast(SHOW)
    thread.join()
    other.engine.dispose()
    assert order == [SHOW]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    pragmas = [p for p in database.PRAGMAS if "busy" not in p]
    monkeypatch.setattr(database, "PRAGMAS", [*pragmas, "busy_timeout=20"])


def test_b04_a_lock_that_stays_is_a_storage_error_and_is_over_when_it_is(
    impatient: None, file: Path
) -> None:
    one, other = open_box(file), open_box(file)
    with one.transaction("default"):
        with pytest.raises(StorageError):
            other.prove_writable()
        assert other.next_due() is None  # reading goes on
    other.prove_writable()
    one.engine.dispose()
    other.engine.dispose()


def test_b05_a_file_that_is_no_database_is_refused_and_kept(file: Path) -> None:
    file.write_bytes(b"this was a database once" * 100)
    with pytest.raises(StorageError):
        open_box(file)
    assert file.read_bytes() == b"this was a database once" * 100


def test_no_place_for_it_is_told_and_not_made_up(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file, not a folder")
    with pytest.raises(OSError, match="exists"):
        open_box(tmp_path / "data" / "announcer.db")


# Who else serves it


SERVE = """
import sys
from pathlib import Path
from tests.fakes import open_box
open_box(Path(sys.argv[1])).enlist()
print("serving", flush=True)
sys.stdin.read()
"""


class Server:
    """Another process that serves the file, until it is killed."""

    def __init__(self, file: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        assert self.process.stdout
        assert self.process.stdout.readline() == b"serving\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def servers(file: Path) -> Iterator[list[Server]]:
    started: list[Server] = []
    yield started
    for server in started:
        server.kill()


@on_sqlite
def test_whoever_starts_alone_ends_the_leases_of_the_dead(
    box: Outbox, file: Path, servers: list[Server]
) -> None:
    claim(box, "dead")
    servers.append(Server(file))
    (taken,) = box.abandoned("me", NOW)
    assert taken.entry.key == DUE.key


@on_sqlite
@pytest.mark.parametrize("killed", [None, 0, 1], ids=["two run", "the first died", "the second"])
def test_whoever_starts_beside_others_leaves_their_leases(
    box: Outbox, file: Path, servers: list[Server], killed: int | None
) -> None:
    servers += [Server(file), Server(file)]
    claim(box, "alive")
    if killed is not None:
        servers[killed].kill()
    servers.append(Server(file))
    assert box.abandoned("me", NOW) == []


# The schema


def tables(file: Path) -> set[str]:
    engine = outbox.connect(f"sqlite:///{file}")
    names = set(sa.inspect(engine).get_table_names())
    engine.dispose()
    return names


def test_an_upgrade_twice_changes_nothing(box: Outbox) -> None:
    put(box, DUE)
    migrations.upgrade(box.engine)
    assert stored(box) == DUE


def crash(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_b10_a_crash_while_the_schema_is_made_leaves_nothing_of_it(file: Path) -> None:
    """It is made in one transaction, so the next start begins anew."""
    last = list(outbox.schema.sorted_tables)[-1]
    sa.event.listen(last, "after_create", crash)
    try:
        with pytest.raises(KeyboardInterrupt):
            open_box(file)
    finally:
        sa.event.remove(last, "after_create", crash)
    assert tables(file) == set()
    box = open_box(file)
    put(box, DUE)
    assert stored(box) == DUE
    box.engine.dispose()


def test_b10_a_crash_in_the_middle_of_an_upgrade_leaves_what_was_there(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All steps are one transaction, too."""
    engine = outbox.connect(f"sqlite:///{file}")
    monkeypatch.setattr(op, "create_index", crash)
    with pytest.raises(KeyboardInterrupt), engine.begin() as connection:
        migrations.climb(connection)
    engine.dispose()
    assert tables(file) == set()


def test_b09_a_schema_from_the_future_is_refused_and_left_alone(file: Path) -> None:
    box = open_box(file)
    put(box, DUE)
    with box.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaTooNew, match="has schema 9999, this version knows up to 0003"):
        migrations.upgrade(box.engine)
    assert stored(box) == DUE
    box.engine.dispose()
