"""What was told late is visible as such, with the reason in plain words."""

from dataclasses import replace
from datetime import timedelta

import pytest

from announcer.lateness import lateness
from announcer.network import Moment
from announcer.outbox import Shown, Try
from announcer.policy import Broadcast, Entry, Hush, Rules
from tests.fakes import NOW
from tests.test_quiet import POST

RULES = Rules(hold=timedelta(seconds=30), grace=timedelta(minutes=5))
LIVE = Broadcast("b1", "default", NOW, NOW, NOW)
OVER = replace(LIVE, stopped=NOW + timedelta(hours=1))
ENDED = replace(POST, moment=Moment.ENDED)


def tried(minutes: float, step: str, outcome: str = "delivered", reason: str = "") -> Try:
    return Try(NOW + timedelta(minutes=minutes), 0.1, step, outcome, reason)


@pytest.mark.parametrize(
    ("show", "entry", "tries", "said"),
    [
        pytest.param(LIVE, POST, [], "", id="not told"),
        pytest.param(LIVE, POST, [tried(0.6, "publish")], "", id="in time"),
        pytest.param(
            LIVE,
            POST,
            [tried(0.5, "publish", "TryLater", "503"), tried(2.4, "publish")],
            "",
            id="a little later",
        ),
        pytest.param(
            LIVE,
            POST,
            [
                tried(0.5, "publish", "TryLater", "503"),
                tried(3, "publish", "TryLater", "429 too many"),
                tried(12.5, "publish"),
            ],
            "told 12 min late: 429 too many",
            id="with the last reason",
        ),
        pytest.param(
            LIVE,
            POST,
            [tried(0.5, "publish", "Unsure", "no answer"), tried(5.5, "find", "found")],
            "told 5 min late: no answer",
            id="found late",
        ),
        pytest.param(
            LIVE,
            POST,
            [tried(0.5, "publish", "TryLater", "503"), tried(30, "publish", "Refused", "401")],
            "",
            id="never told: the post has its own reason",
        ),
        pytest.param(
            LIVE,
            replace(POST, hush=Hush.TITLE),
            [tried(95.5, "publish")],
            "told 1 h 35 min late: its title was one to be skipped",
            id="another title",
        ),
        pytest.param(
            LIVE,
            replace(POST, hush=Hush.OVERRULED),
            [tried(10.5, "publish")],
            "told 10 min late: told by the operator's word",
            id="by hand",
        ),
        pytest.param(LIVE, POST, [tried(10.5, "publish")], "told 10 min late", id="no reason"),
        pytest.param(OVER, POST, [tried(1, "publish"), tried(65, "revise")], "", id="end in time"),
        pytest.param(
            OVER,
            POST,
            [
                tried(1, "publish"),
                tried(30, "revise", "TryLater", "an old one"),
                tried(65, "revise", "TryLater", "503"),
                tried(75, "revise"),
            ],
            "its end told 10 min late: 503",
            id="end late",
        ),
        pytest.param(
            OVER,
            POST,
            [tried(10.5, "publish"), tried(75, "remove")],
            "told 10 min late; its end told 10 min late",
            id="both late",
        ),
        pytest.param(
            OVER,
            ENDED,
            [tried(65, "publish", "TryLater", "503"), tried(80, "publish")],
            "told 15 min late: 503",
            id="an end of its own",
        ),
        pytest.param(LIVE, ENDED, [tried(80, "publish")], "", id="live again"),
    ],
)
def test_lateness(show: Broadcast, entry: Entry, tries: list[Try], said: str) -> None:
    assert lateness(show, Shown(entry, None, None, tries), RULES) == said
