"""Words a claimed post right before it leaves: by template, what Owncast says, and a picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import structlog

from announcer import chat, policy
from announcer.content import Channel, Composer, Content, thaw
from announcer.network import Moment, Network, Picture
from announcer.outbox import Claim, Outbox
from announcer.policy import Entry, Rules
from announcer.watch import About
from announcer.wording import Facts

log = structlog.get_logger("announcer.delivery")


@dataclass(frozen=True)
class Author:
    """*dice* in [0, 1) chooses among variants."""

    outbox: Outbox
    rules: Rules
    destinations: Mapping[str, Network]
    channels: Mapping[str, Channel]
    composer: Composer

    def channel(self, entry: Entry) -> Channel:
        return self.channels.get(entry.channel) or Channel(entry.channel)

    def words_and_picture(
        self, claim: Claim, network: Network, now: datetime, dice: float
    ) -> tuple[Content, Picture | None]:
        """Of what may be up already, byte for byte the same; of an alert, those it came with."""
        frozen = claim.entry.doubtful_since or claim.entry.moment is Moment.ALERT
        if claim.content and frozen:
            content = thaw(claim.content)
            return content, self.outbox.picture(content.picture) if content.picture else None
        content = self.words(claim, network, claim.entry.moment.mood, now, dice)
        pictures = self.channel(claim.entry).pictures
        if not pictures or not network.shows_pictures or claim.entry.moment is not Moment.LIVE:
            return content, None
        facts = self._facts(claim)
        # Few networks can cover a picture, so what is not for all eyes is not shown.
        of_stream = not facts.nsfw and policy.has_picture(claim.broadcast, now)
        shot = pictures.take(of_stream=of_stream)
        if shot is None:
            return content, None
        destination = claim.entry.destination
        content, problem = self.composer.illustrate(content, network, destination, facts, shot)
        if problem:
            log.error("template", post=claim.entry.key, reason=problem)
        return content, shot.picture

    def _facts(self, claim: Claim) -> Facts:
        channel = self.channel(claim.entry)
        about = channel.watch.about(ask=bool(self.rules.hold)) if channel.watch else About()
        network = self.destinations.get(claim.entry.destination)
        posts: tuple[tuple[str, str], ...] = ()
        if network and network.told_last:
            posts = chat.links(self.outbox.announced(claim.broadcast.id), self.destinations)
        return self.composer.facts(claim.broadcast, channel, about, posts)

    def words(
        self,
        claim: Claim,
        network: Network,
        mood: Moment,
        now: datetime,
        dice: float,
        keep: str = "",
    ) -> Content:
        content = self.composer.compose(
            network,
            claim.entry.destination,
            mood,
            self._facts(claim),
            last=thaw(claim.last).template if claim.last else "",
            keep=keep,
            dice=dice,
            now=now,
        )
        if content.problem:
            log.error("template", post=claim.entry.key, reason=content.problem)
        return content
