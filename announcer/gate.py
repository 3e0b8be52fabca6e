"""Whether a post may be told now: not against the rules for quiet, not before its stream is up, and
the one that names the others not before them. Asked right before it leaves.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from announcer import chat, policy, quiet
from announcer.author import Author
from announcer.network import Moment, Network
from announcer.outbox import Claim
from announcer.policy import Entry, State
from announcer.quiet import Quiet


@dataclass
class Gate:
    """For the posts that *author* words."""

    author: Author
    quiet: Quiet
    now: Callable[[], datetime]

    def held_back(self, claim: Claim, entry: Entry) -> Entry | None:
        """*entry* as the rules for quiet leave it, None if they let it pass. Asked once more right
        before it is told: a retry comes into the quiet hours, a pause while it was on its way.
        """
        paused = self.author.outbox.paused() is not None
        verdict = self.quiet.verdict(claim.broadcast.title, self.now(), paused=paused)
        if entry.moment is Moment.AGAIN:
            reason = chat.skipped(claim.live[0] if claim.live else None, verdict)
            return replace(entry, state=State.FAILED, reason=reason) if reason else None
        held = quiet.hushed(entry, verdict)
        return None if held is entry else held

    def wait(self, claim: Claim) -> datetime | None:
        """Until when to wait before telling, None to tell now. Raises NotLive or NotTold."""
        entry = claim.entry
        if entry.moment is Moment.ALERT:
            return None
        if entry.moment is Moment.ENDED:
            return policy.wait_for_start(claim.live[0] if claim.live else None, self.now())
        watch = self.author.channel(entry).watch
        if entry.moment is Moment.AGAIN:
            newest = self.author.outbox.past(entry.channel).broadcast
            sight = watch.look() if watch else None
            return chat.wait_for_round(claim.broadcast, newest, sight, self.now())
        rules = self.author.rules
        if watch is None or (not rules.hold and entry.tries == 1):
            return None  # without a hold, a first try speaks at once
        return policy.wait_for_stream(entry, watch.look(), rules, self.now())

    def wait_for_others(self, entry: Entry, network: Network) -> Entry | None:
        """*entry* as it waits for the posts that it names; None if it does not."""
        if not network.told_last or entry.moment is not Moment.LIVE:
            return None
        announced = self.author.outbox.announced(entry.broadcast)
        others = [one for one, _ in announced if self._told_before(one)]
        return chat.wait_for_posts(entry, others, self.now())

    def _told_before(self, other: Entry) -> bool:
        """Whether a post that names the others waits for this one."""
        network = self.author.destinations.get(other.destination)
        return network is not None and not network.told_last
