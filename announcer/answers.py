"""Tells a viewer who asks in chat where the posts are.

Neither the question nor the answer is stored: an answer that comes late is worth nothing, and one
that is lost is asked for again. So it is tried once, and never while Owncast waits for us.
"""

import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import structlog

from announcer import chat
from announcer.content import Channel, Composer
from announcer.events import MalformedEvent, command
from announcer.network import DeliveryError, Moment, Network, Post
from announcer.outbox import Outbox, StorageError
from announcer.watch import About

log = structlog.get_logger("announcer.answers")

SELDOM = 30.0
"""Seconds between two answers in one channel, whoever asks."""


class Answers:
    """Listens where a destination `answers_to` something. *audience* gives the destinations of a
    channel by name.
    """

    def __init__(
        self,
        outbox: Outbox,
        composer: Composer,
        channels: Mapping[str, Channel],
        destinations: Mapping[str, Network],
        audience: Callable[[str], Collection[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox, self._composer, self._clock = outbox, composer, clock
        self._channels, self._destinations = channels, destinations
        self._speakers = {
            channel: name
            for channel in channels
            for name in audience(channel)
            if destinations[name].answers_to
        }
        self._last: dict[str, float] = {}
        self._pool = ThreadPoolExecutor(1, "answers")

    def hear(self, body: bytes, channel: str) -> None:
        """*body* is a webhook that is no event of ours. Returns at once."""
        name = self._speakers.get(channel)
        if name is None:
            return
        try:
            asked = command(body).casefold()
        except MalformedEvent:
            return  # what we do not act on need not be well-formed
        if asked != self._destinations[name].answers_to.casefold():
            return
        now = self._clock()
        if now - self._last.get(channel, float("-inf")) < SELDOM:
            return
        self._last[channel] = now
        self._pool.submit(self._answer, channel, name)

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _answer(self, channel: str, name: str) -> None:
        try:
            post = self._post(channel, name)
            if post:
                self._destinations[name].publish(post)
                log.info("answer", channel=channel, destination=name)
        except (DeliveryError, StorageError) as problem:
            log.warning("answer", destination=name, reason=type(problem).__name__)
        except Exception as bug:  # the boundary of the thread: a bug must be seen
            log.exception("bug", destination=name, reason=type(bug).__name__)

    def _post(self, channel: str, name: str) -> Post | None:
        """The announcement with the links known now; None if nothing is live, or none is up."""
        broadcast = self._outbox.past(channel).broadcast
        now = datetime.now(UTC)
        if broadcast is None or not broadcast.live:
            return None
        if name in self._outbox.closed() or name in self._outbox.breakers(now):
            return None
        links = chat.links(self._outbox.announced(broadcast.id), self._destinations)
        if not links:
            return None
        about = self._channels[channel].watch
        facts = self._composer.facts(
            broadcast, self._channels[channel], about.about(ask=False) if about else About(), links
        )
        content = self._composer.compose(
            self._destinations[name], name, Moment.LIVE, facts, last="", keep="", dice=0, now=now
        )
        key = f"{broadcast.id}/answer/{name}"
        return Post(key, Moment.AGAIN, Moment.LIVE, content.text, facts.started_at, now, key)
