"""The verdict on a run: what people saw decides, and our own rows only say what we admit."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from announcer.outbox import Outbox, Shown
from announcer.policy import DEADLY, Entry, State
from tests.ledger import Ledger, Visible
from tests.torture import databases
from tests.torture.plays import PLAYS, Case

LIVE, OVER = "LIVE", "OVER"
"""How the texts of a run begin: its templates are its own."""
TEMPLATES = {
    "live.txt": LIVE + " {{ title }} {{ url }}",
    "ended.txt": OVER + " {{ title }} {{ url }}",
}
ENDINGS = {"mastodon": "edit", "discord": "edit", "bluesky": "reply"}
BADGES = {"mastodon": "MASTODON_PIN", "bluesky": "BLUESKY_LIVE_BADGE"}
EDITED = ("mastodon", "discord")
TAKEN_BACK = ("mastodon", "bluesky", "x", "discord")
"""Where the word of the end is taken away when the stream is back."""


@dataclass
class Verdict:
    """*problems* by kind: double, lost, untrue, stuck, unheard, offence."""

    judged: int = 0
    unsure: Counter[str] = field(default_factory=Counter)
    problems: list[tuple[str, str]] = field(default_factory=list)

    def against(self, kind: str, text: str) -> None:
        self.problems.append((kind, text))


def judge(case: Case, ledger: Ledger, box: Outbox, acknowledged: Collection[str]) -> Verdict:
    verdict = Verdict()
    for missing in sorted(set(acknowledged) - databases.events(box)):
        verdict.against("unheard", f"event {missing} was acknowledged and is not there")
    shows = box.history(10)
    if len(shows) != 1:
        verdict.against("double", f"{len(shows)} broadcasts of one show")
        return verdict
    rows = {(post.entry.destination, post.entry.moment.value): post for post in shows[0][1]}
    verdict.judged = len(rows)
    for (network, moment), row in rows.items():
        if is_busy(row.entry):
            verdict.against("stuck", f"{network} {moment} is still {row.entry.state}")
    for network in case.street.networks:
        _judge_network(case, network, ledger, rows, verdict)
    for offence in ledger.complaints:
        verdict.against("offence", offence)
    return verdict


def is_busy(entry: Entry) -> bool:
    """Whether something is still to be done, but for a badge that is set anew in hours."""
    soon = datetime.now(UTC) + timedelta(minutes=10)
    return entry.state is State.SENDING or (entry.state is State.DUE and entry.next_at < soon)


def _judge_network(
    case: Case,
    network: str,
    ledger: Ledger,
    rows: Mapping[tuple[str, str], Shown],
    verdict: Verdict,
) -> None:
    ever = [post for post in ledger.ever if post.network == network]
    starts = [post for post in ever if _first_words(post).startswith(LIVE)]
    ends = [post for post in ever if _first_words(post).startswith(OVER)]
    ending = case.street.settings.get(f"{network.upper()}_WHEN_ENDED") or ENDINGS.get(network, "")
    for what, posts in (("start", starts), ("end", ends)):
        if _together(posts):
            verdict.against("double", f"{network}: two posts of the {what} at once")
    if ending != "remove" and len(starts) > 1:
        verdict.against("double", f"{network}: the start was posted {len(starts)} times")
    row = rows.get((network, "live"))
    if row is None:
        return verdict.against("lost", f"{network}: nobody ever meant to post")
    match row.entry.state:
        case State.UNSURE:
            return _admit(case, network, row, verdict)
        case State.WITHDRAWN if case.play == "false start":
            if starts:
                verdict.against("untrue", f"{network}: it is withdrawn, and up")
            return None
        case State.SETTLED:
            pass
        case State.FAILED if _set_aside(case, row):
            return _admit(case, network, row, verdict)
        case state:
            return verdict.against("lost", f"{network}: {state}: {row.entry.reason}")
    over, title = _in_the_end(case)
    ended = rows.get((network, "ended"))
    if ended and ended.entry.state is State.UNSURE:
        _admit(case, network, ended, verdict)
        ending = ""
    seen = [post for post in starts if post.gone_at is None]
    told = [post for post in ends if post.gone_at is None]
    for kind, text in _untrue(network, ending, over, title, seen, told):
        verdict.against(kind, f"{network}: {text}")
    marks = any(mark.startswith(network) for mark in ledger.marks)
    badge = BADGES.get(network) in case.street.settings
    if badge and marks == over:
        verdict.against("untrue", f"{network}: the badge is {'on' if marks else 'off'}")
    return None


def _untrue(
    network: str, ending: str, over: bool, title: str, seen: list[Visible], told: list[Visible]
) -> Iterator[tuple[str, str]]:
    """What is not as it should be. *seen* and *told*: the posts of the start and of the end."""
    if over and ending == "remove":
        if seen:
            yield "untrue", "it should have been removed"
        return
    if not seen:
        yield "lost", "there is no post"
        return
    text = seen[0].text
    if over and ending == "edit" and not text.startswith(OVER):
        yield "untrue", f"it says {text!r} after the end"
    if over and ending in ("reply", "post") and not told:
        yield "lost", "the end was not told"
    if not over and not text.startswith(LIVE):
        yield "untrue", f"it says {text!r} of a stream that is live"
    if not over and told and network in TAKEN_BACK:
        yield "untrue", "the end is told of a stream that is live"
    if network in EDITED and ending in ("edit", "remove") and title not in text:
        yield "untrue", f"it says {text!r}, and the title is {title!r}"


def _admit(case: Case, network: str, row: Shown, verdict: Verdict) -> None:
    """We say that we do not know: allowed only where nobody could."""
    ways = case.street.ways
    unseen = not (ways.get("honours_keys", True) or ways.get("may_look", True))
    if _set_aside(case, row):
        verdict.unsure[f"{network}, set aside"] += 1
    elif network in ("discord", "owncast") or (network == "mastodon" and unseen):
        verdict.unsure[network] += 1
    else:
        verdict.against("lost", f"{network}: unsure, and could know: {row.entry.reason}")


def _set_aside(case: Case, row: Shown) -> bool:
    """As G06 asks: the service died so often in a row while trying it that it may be why."""
    return len(case.deaths) >= DEADLY and "set aside: the service died" in row.entry.reason


def _in_the_end(case: Case) -> tuple[bool, str]:
    """Whether the stream is over, and its newest title."""
    over, title = False, ""
    for step in PLAYS[case.play]:
        over = step.what == "stop" if step.what in ("start", "stop") else over
        title = step.title or title
    return over, title


def _first_words(post: Visible) -> str:
    return (post.was or [post.text])[0]


def _together(posts: list[Visible]) -> bool:
    """Whether two were visible at the same time. They stand in the order of their appearance."""
    return any(one.gone_at is None or one.gone_at > other.at for one, other in pairwise(posts))
