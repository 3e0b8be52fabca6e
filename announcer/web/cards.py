"""A post as its audience sees it, with what the operator may want to know and do."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from markupsafe import Markup

from announcer.content import Content, thaw
from announcer.lateness import lateness
from announcer.network import Dialect, Moment, Network, Removes
from announcer.outbox import Shown
from announcer.policy import Broadcast, Entry, Hush, Rules, State
from announcer.web.dialects import read
from announcer.web.say import say

TONES = ("bad", "wait", "good", "quiet")
"""In this order posts are shown: what needs somebody first."""
_TONE = {
    State.DUE: "wait",
    State.SENDING: "wait",
    State.SETTLED: "good",
    State.WITHDRAWN: "quiet",
    State.FAILED: "bad",
    State.UNSURE: "bad",
    State.GONE: "quiet",
}


@dataclass(frozen=True)
class Action:
    """One button: where it is posted to, its words, and the question it asks first, if any."""

    name: str
    key: str
    words: str
    ask: str = ""
    main: bool = False


@dataclass(frozen=True)
class PostCard:
    """*tone* is one of TONES. *text* is markup of ours around escaped words, which
    *warning* is shown in front of, if there is one.
    """

    id: str
    key: str
    network: str
    title: str
    account: str
    state: str
    tone: str
    text: Markup
    warning: str
    link: str
    host: str
    card_title: str
    card_text: str
    picture: str
    alt: str
    edited: bool
    reason: str
    note: str
    late: str
    tries: int
    failures: bool
    next_at: datetime | None
    at: datetime | None
    kind: str
    actions: tuple[Action, ...]


def card(
    show: Broadcast, post: Shown, network: Network | None, rules: Rules, now: datetime
) -> PostCard:
    """*network* is None for a destination that is configured no more."""
    entry = post.entry
    content = thaw(post.content) if post.content else None
    behind = content.card if content else None
    up = [one for one in post.tries if one.outcome in ("delivered", "found")]
    name, _, account = entry.destination.partition(".")
    state, tone = _state(entry)
    return PostCard(
        id=anchor(entry.key),
        key=entry.key,
        network=name,
        title=network.title if network else name,
        account=account,
        state=state,
        tone=tone,
        text=worded(content, network) if content else Markup(""),
        warning=network.warning if network else "",
        link=web_address(post.receipt.url if post.receipt else ""),
        host=urlsplit(behind.url).hostname or "" if behind else "",
        card_title=behind.title if behind else "",
        card_text=behind.description if behind else "",
        picture=content.picture if content else "",
        alt=content.alt if content else "",
        edited=any(one.step == "revise" for one in up),
        reason=entry.reason,
        note=post.receipt.note if post.receipt else "",
        late=lateness(show, post, rules),
        tries=len(post.tries),
        failures=entry.state is not State.SETTLED and bool(post.tries),
        next_at=entry.next_at if entry.state is State.DUE and entry.next_at > now else None,
        at=up[0].at if up else None,
        kind="" if entry.moment is Moment.LIVE else say(f"moment.{entry.moment.value}"),
        actions=tuple(_actions(show, post, network, now)),
    )


def anchor(key: str, before: str = "post") -> str:
    """An id for HTML, and for no other key."""
    return f"{before}-" + re.sub(r"[^A-Za-z0-9-]", lambda sign: f"_{ord(sign[0]):x}", key)


def web_address(link: str) -> str:
    """*link* if a browser may follow it; what a network gave back is not ours."""
    return link if link.startswith(("https://", "http://")) else ""


def worded(content: Content, network: Network | None) -> Markup:
    """Its words as the readers of *network* see them. Everything of *content* is escaped."""
    return read(content.text, network.dialect if network else Dialect.PLAIN)


def _state(entry: Entry) -> tuple[str, str]:
    """In a word, and its tone."""
    state, shown = entry.state, entry.shown is not None
    if entry.moment is Moment.BADGE:
        if state in (State.DUE, State.SETTLED) and shown:
            return say("badge.on"), "good"
        if state in (State.SETTLED, State.WITHDRAWN):
            return say("badge.off"), "quiet"
    if shown and entry.wanted is None and state in (State.DUE, State.SENDING):
        return say("state.going"), "wait"
    if state is State.SETTLED and not shown:
        return say("state.taken_down"), "quiet"
    if state in (State.DUE, State.SENDING) and shown:
        return say("state.changing"), "wait"
    if state is State.FAILED and shown:
        return say("state.not_changed"), "bad"
    return say(f"state.{state.value}"), _TONE[state]


def _actions(
    show: Broadcast, post: Shown, network: Network | None, now: datetime
) -> Iterator[Action]:
    """Those that make sense for it as it is now."""
    entry = post.entry
    if network is None or entry.moment is Moment.ALERT:
        return
    over = entry.moment is Moment.ENDED
    tellable = show.live is not over or entry.shown is not None
    stuck = entry.state in (State.FAILED, State.UNSURE, State.WITHDRAWN)
    if entry.state is State.UNSURE:
        yield Action("sent", entry.key, say("action.sent"), main=True)
    if stuck and tellable:
        doubt = entry.state is State.UNSURE
        ask = say("action.retry_ask") if doubt else ""
        unsaid = entry.state is State.WITHDRAWN and entry.moment is Moment.LIVE
        words = say("action.here" if unsaid and entry.shown is None else "action.retry")
        yield Action("retry", entry.key, words, ask, main=not doubt and not unsaid)
    if entry.state is State.DUE and entry.next_at > now:
        yield Action("now", entry.key, say("action.now"))
    visible = entry.shown is not None and entry.state in (State.SETTLED, State.DUE, State.FAILED)
    going = entry.hush is Hush.TAKEN and entry.wanted is None and entry.state is State.DUE
    within_reach = isinstance(network, Removes) and post.receipt is not None
    if visible and within_reach and not going and entry.moment is not Moment.BADGE:
        yield Action("down", entry.key, say("action.down"), say("action.down_ask"))
