"""A post as its audience sees it, with what the operator may want to know and do."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlsplit

from markupsafe import Markup, escape

from announcer.content import Content, thaw
from announcer.lateness import lateness
from announcer.network import ZERO_WIDTH_SPACE, Moment, Network, Removes
from announcer.outbox import Shown
from announcer.policy import Broadcast, Entry, Rules, State
from announcer.web.say import say

TONES = {
    State.DUE: "wait",
    State.SENDING: "wait",
    State.SETTLED: "good",
    State.WITHDRAWN: "quiet",
    State.FAILED: "bad",
    State.UNSURE: "bad",
    State.GONE: "quiet",
}
_WORD = re.compile(r"(https?://[^\s<>\"']+[^\s<>\"'.,;:!?)\]])|((?<!\w)#\w+)")


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
    """*tone* is one of good, wait, bad, quiet. *text* is markup of ours around escaped words."""

    id: str
    key: str
    network: str
    title: str
    account: str
    state: str
    tone: str
    text: Markup
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
    return PostCard(
        id=anchor(entry.key),
        key=entry.key,
        network=name,
        title=network.title if network else name,
        account=account,
        state=_words(entry),
        tone="quiet"
        if entry.shown is None and entry.state is State.SETTLED
        else TONES[entry.state],
        text=worded(content) if content else Markup(""),
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
        next_at=entry.next_at if entry.state is State.DUE and entry.next_at > now else None,
        at=up[0].at if up else None,
        kind="" if entry.moment is Moment.LIVE else say(f"moment.{entry.moment.value}"),
        actions=tuple(_actions(show, entry, network, now)),
    )


def anchor(key: str) -> str:
    """An id for HTML."""
    return "post-" + re.sub(r"[^A-Za-z0-9_-]", "-", key)


def web_address(link: str) -> str:
    """*link* if a browser may follow it; what a network gave back is not ours."""
    return link if link.startswith(("https://", "http://")) else ""


def worded(content: Content) -> Markup:
    """Its words with links and tags marked. Everything of *content* is escaped."""
    return marked(content.text)


def marked(text: str) -> Markup:
    """As `worded`, for words that are of no post yet."""
    text, done, out = text.replace(ZERO_WIDTH_SPACE, ""), 0, Markup("")
    for match in _WORD.finditer(text):
        out += escape(text[done : match.start()])
        what = "link" if match[1] else "tag"
        out += Markup('<span class="{}">{}</span>').format(what, match[0])
        done = match.end()
    return out + escape(text[done:])


def _words(entry: Entry) -> str:
    if entry.moment is Moment.BADGE:
        if entry.state in (State.DUE, State.SETTLED) and entry.shown:
            return say("badge.on")
        if entry.state in (State.SETTLED, State.WITHDRAWN):
            return say("badge.off")
    if entry.state is State.SETTLED and entry.shown is None:
        return say("state.taken_down")
    if entry.state is State.DUE and entry.shown is not None:
        return say("state.changing")
    return say(f"state.{entry.state.value}")


def _actions(
    show: Broadcast, entry: Entry, network: Network | None, now: datetime
) -> Iterator[Action]:
    """Those that make sense for it as it is now."""
    if network is None or entry.moment is Moment.ALERT:
        return
    tellable = show.live or entry.moment is Moment.ENDED or entry.shown is not None
    stuck = entry.state in (State.FAILED, State.UNSURE, State.WITHDRAWN)
    if stuck and tellable:
        doubt = entry.state is State.UNSURE
        ask = say("action.retry_ask") if doubt else ""
        yield Action("retry", entry.key, say("action.retry"), ask, main=not doubt)
    if entry.state is State.UNSURE:
        yield Action("sent", entry.key, say("action.sent"), main=True)
    if entry.state is State.DUE and entry.next_at > now:
        yield Action("now", entry.key, say("action.now"))
    visible = entry.shown is not None and entry.state in (State.SETTLED, State.DUE, State.FAILED)
    if visible and isinstance(network, Removes) and entry.moment is not Moment.BADGE:
        yield Action("down", entry.key, say("action.down"), say("action.down_ask"))
