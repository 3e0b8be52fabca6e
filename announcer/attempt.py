"""One try of one claimed post: what is to be done now is done, and what came of it is stored."""

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from announcer import alerts, badges, policy, wire
from announcer.author import Author
from announcer.content import Content, thaw
from announcer.gate import Gate
from announcer.metrics import Metrics
from announcer.network import (
    DeliveryError,
    Finds,
    Moment,
    Network,
    Picture,
    Receipt,
    Refused,
    Removes,
    Revises,
    Shines,
    TryLater,
    Unsure,
)
from announcer.outbox import Claim, StorageError, Try
from announcer.outcome import Heard, Outcomes
from announcer.policy import Breaker, Ending, Entry, Manners, NotLive, NotTold, State, Step
from announcer.quiet import Quiet
from announcer.settings import secrets_of
from announcer.tracing import Tracing

log = structlog.get_logger("announcer.delivery")

DAY = timedelta(days=1)
MISTAKES = 3
"""Tries of a change in which something of ours broke, after which it is given up: it may have been
made all the same, and is harmless to repeat.
"""


class Attempts:
    """Makes them, for the destinations that *author* writes for. Those named in *alerted* are for
    the operator.
    """

    def __init__(
        self,
        author: Author,
        *,
        redact: Callable[[str], str],
        quiet_rules: Quiet,
        refresh: Callable[[], None],
        metrics: Metrics,
        tracing: Tracing,
        alerted: Sequence[str] = (),
    ) -> None:
        self.author, self._outbox = author, author.outbox
        self.gate = Gate(author, quiet_rules, lambda: now())
        self._destinations, self._composer = author.destinations, author.composer
        self._redact, self._refresh = redact, refresh
        self.outcomes = Outcomes(
            author.outbox,
            author.destinations,
            alerted,
            lambda: now(),
            lambda: dice(),
            metrics=metrics,
            tracing=tracing,
        )
        self.finish = self.outcomes.store

    def make(self, claim: Claim) -> None:
        # Whatever comes of it here is no death; until it is stored, the row remembers those before.
        claim = replace(claim, entry=replace(claim.entry, deaths=0))
        entry, begun = claim.entry, now()
        network = self._destinations.get(entry.destination)
        if network is None:
            return self.finish(claim, policy.failed(entry, "this destination is not configured"))
        if entry.moment is Moment.BADGE:
            return self._badge(claim, network)
        step = policy.next_step(entry, network.repeat, begun)
        if claim.breaker and claim.breaker.holds(begun) and step is not Step.WITHDRAW:
            step = Step.GIVE_UP  # its time is over, and nothing may be sent there
        match step:
            case Step.WITHDRAW:
                return self.finish(claim, policy.withdrawn(entry, _overtaken(entry)))
            case Step.GIVE_UP:
                return self.finish(claim, policy.failed(entry, _too_late(entry, claim.breaker)))
            case Step.PUBLISH:
                return self._publish(claim, network)
            case Step.REVISE | Step.REMOVE:
                return self._change(claim, network, step)
            case _:
                return self._find(claim, network, publish=step is Step.FIND_OR_PUBLISH)

    def _find(self, claim: Claim, network: Network, *, publish: bool) -> None:
        """Look whether an earlier try is up; only if it is not, go on."""
        entry, begun = claim.entry, now()
        if not isinstance(network, Finds) or claim.content is None:
            reason = _overtaken(entry) if entry.wanted is not entry.moment else _too_late(entry)
            return self.finish(claim, policy.failed(entry, f"{reason}, and nobody can look"))
        try:
            receipt = network.find(thaw(claim.content).post(entry))
        except DeliveryError as problem:
            return self.settle_failure(claim, network, problem, begun, "find")
        except StorageError:
            raise
        except Exception as bug:  # it would hold up this destination for as long as its lease
            log.exception("bug", post=entry.key, reason=type(bug).__name__)
            mistake = TryLater(f"our own mistake while looking ({type(bug).__name__})")
            return self.settle_failure(claim, network, mistake, begun, "find", heard=False)
        what = _try(begun, "find", "found" if receipt else "not up")
        if receipt:
            return self.finish(claim, policy.settled(entry), what, receipt, heard=Heard())
        sure = replace(entry, doubtful_since=None)
        if entry.wanted is not entry.moment:
            return self.finish(
                claim, policy.withdrawn(sure, _overtaken(entry)), what, heard=Heard()
            )
        if not publish:
            return self.finish(claim, policy.failed(sure, _too_late(entry)), what, heard=Heard())
        if held := self.gate.held_back(claim, sure):
            return self.finish(claim, held, what, heard=Heard())
        return self._publish(claim, network)

    def _publish(self, claim: Claim, network: Network) -> None:
        entry, begun = claim.entry, now()
        try:
            ready = self._ready(claim, network)
        except StorageError:
            raise
        except Exception as bug:  # it would hold up this destination for as long as its lease
            log.exception("bug", post=entry.key, reason=type(bug).__name__)
            mistake = TryLater(f"our own mistake before sending ({type(bug).__name__})")
            return self.settle_failure(claim, network, mistake, begun, "publish", heard=False)
        if isinstance(ready, Entry):
            return self.finish(claim, ready)
        content, picture = ready
        begun = now()
        if begun > entry.until:
            return self.finish(claim, policy.failed(entry, _too_late(entry)))
        worries = self._worries(claim, content)
        turn_ends = self._outbox.freeze(claim, content.frozen(), begun, picture, worries)
        if turn_ends is None:
            return self._judge_again(claim)
        try:
            answered_to = self._reply_to(claim, network)
            with wire.not_after(turn_ends):
                receipt = network.publish(content.post(entry, answered_to, picture))
        except DeliveryError as problem:
            return self.settle_failure(claim, network, problem, begun, "publish")
        except Exception as bug:  # it may be up, whatever broke: never just "failed"
            log.exception("bug", post=entry.key, reason=type(bug).__name__)
            unclear = Unsure(f"our own mistake after sending ({type(bug).__name__})")
            return self.settle_failure(claim, network, unclear, begun, "publish", heard=False)
        what = _try(begun, "publish", "delivered", self._redact(receipt.note))
        return self.finish(claim, policy.settled(entry), what, receipt, heard=Heard())

    def _ready(self, claim: Claim, network: Network) -> Entry | tuple[Content, Picture | None]:
        """What is about to leave; or what becomes of the post if that must not be."""
        entry = claim.entry
        if held := self.gate.held_back(claim, entry):
            return held
        if reason := self._why_not(claim, network):
            return policy.failed(entry, reason)
        try:
            again_at = self.gate.wait(claim)
        except (NotLive, NotTold) as problem:
            return policy.withdrawn(entry, str(problem))
        if again_at:
            # Waiting is no try.
            waiting = replace(entry, state=State.DUE, next_at=again_at, tries=entry.tries - 1)
            return replace(waiting, reason="waits until the stream is up")
        if later := self.gate.wait_for_others(entry, network):
            return later
        return self.author.words_and_picture(claim, network, now(), dice())

    def _why_not(self, claim: Claim, network: Network) -> str:
        """Why nothing may be put up at this destination now; empty if it may."""
        shut, budget = _closed(claim, network), network.daily_posts
        if not shut and budget is not None:
            spent = self._outbox.published_since(claim.entry.destination, now() - DAY)
            if spent >= budget:
                return f"the budget of {budget} posts a day is spent"
        return shut

    def _reply_to(self, claim: Claim, network: Network) -> Receipt | None:
        answers = manners_of(network).ending is Ending.REPLY
        ends = claim.entry.moment is Moment.ENDED
        return claim.live[1] if claim.live and ends and answers else None

    def _worries(self, claim: Claim, content: Content) -> list[tuple[Entry, str]]:
        """Alerts about words that are not those which the operator wanted."""
        if not content.broken:
            return []
        words = alerts.of_words(claim.entry, claim.broadcast, self._redact(content.problem))
        return self.outcomes.alert(claim, words)

    def _change(self, claim: Claim, network: Network, step: Step) -> None:
        """Edit what is up, or take it away. Both are harmless to repeat."""
        entry, receipt = claim.entry, claim.receipt
        reason = _closed(claim, network)
        if reason:
            return self.finish(claim, policy.postponed(entry, reason, now()))
        if receipt is None or claim.content is None:
            return self.finish(claim, policy.beyond_reach(entry))
        begun, shown = now(), thaw(claim.content)
        try:
            content = self._new_words(claim, network, shown) if step is Step.REVISE else None
        except StorageError:
            raise
        except Exception as bug:  # as below
            log.exception("bug", post=entry.key, reason=type(bug).__name__)
            return self._stumble(claim, network, bug, begun, step)
        if content and entry.tries == 1 and content.says_the_same(shown):
            return self.finish(claim, policy.changed(entry))
        begun = now()
        worries = self._worries(claim, content) if content else []
        turn_ends = self._outbox.freeze(claim, None, begun, None, worries)
        if turn_ends is None:
            return self._judge_again(claim)
        try:
            with wire.not_after(turn_ends):
                if content and isinstance(network, Revises):
                    receipt = network.revise(receipt, content.post(entry))
                elif not content and isinstance(network, Removes):
                    network.remove(receipt)
                else:
                    raise Refused(f"{network.title} can not {step.value} a post")
        except DeliveryError as problem:
            return self._settle_change(claim, network, problem, begun, step)
        except Exception as bug:  # it would hold up this destination for as long as its lease
            log.exception("bug", post=entry.key, reason=type(bug).__name__)
            return self._stumble(claim, network, bug, begun, step)
        frozen = content.frozen() if content else None
        what = _try(begun, step.value, "delivered")
        return self.finish(claim, policy.changed(entry), what, receipt, frozen, Heard())

    def _new_words(self, claim: Claim, network: Network, shown: Content) -> Content:
        wanted = claim.entry.wanted or claim.entry.moment
        keep = shown.template if shown.mood is wanted else ""
        words = self.author.words(claim, network, wanted, now(), dice(), keep)
        return words.keeping_picture_of(shown)

    def _stumble(
        self, claim: Claim, network: Network, bug: Exception, begun: datetime, step: Step
    ) -> None:
        """Over a mistake of ours, while something was to be changed."""
        kind = Unsure if claim.entry.tries < MISTAKES else Refused
        mistake = kind(f"our own mistake ({type(bug).__name__})")
        return self._settle_change(claim, network, mistake, begun, step, heard=False)

    def _badge(self, claim: Claim, network: Network) -> None:
        """Set it or clear it. It never closes the destination: the announcement may get through."""
        entry, begun = claim.entry, now()
        live, receipt = claim.live or (None, None)
        on = isinstance(network, Shines) and network.wants_badge
        step, because = badges.next_step(entry, claim.broadcast, live, begun, on=on)
        if step is badges.Step.WITHDRAW:
            return self.finish(claim, policy.withdrawn(entry, because))
        if step is badges.Step.WAIT:
            return self.finish(claim, badges.waiting(entry))
        if not isinstance(network, Shines) or receipt is None:
            return self.finish(claim, policy.failed(entry, "there is nothing to set it beside"))
        card = self._composer.card(claim.broadcast, self.author.channel(entry))
        what: Try | None = None
        heard: Heard | None = Heard()
        try:
            if shut := _closed(claim, network):
                return self.finish(claim, badges.postponed(entry, shut, step, now()))
            turn_ends = self._outbox.freeze(claim, None, begun)
            if turn_ends is None:
                return self._judge_again(claim)
            with wire.not_after(turn_ends):
                if step is badges.Step.SHINE:
                    network.shine(receipt, card, begun, again=entry.shown is not None)
                    entry = badges.lit(entry, network.badge_lasts, begun)
                else:
                    network.dim(receipt, card)
                    entry = badges.dimmed(entry, because)
            what = _try(begun, step.value, "delivered")
        except DeliveryError as problem:
            problem = self._as_of_now(claim, network, problem)
            heard = Heard(problem)
            entry = badges.after(entry, problem, step, begun, now(), dice())
            what = _try(begun, step.value, type(problem).__name__, str(problem))
        except StorageError:
            raise
        except Exception as bug:  # it would hold up this destination for as long as its lease
            log.exception("bug", post=entry.key, reason=type(bug).__name__)
            mistake = Refused(f"our own mistake ({type(bug).__name__})")
            entry, heard = badges.after(entry, mistake, step, begun, now(), dice()), None
            what = _try(begun, step.value, type(mistake).__name__, str(mistake))
        return self.finish(claim, entry, what, heard=heard)

    def _settle_change(
        self,
        claim: Claim,
        network: Network,
        problem: DeliveryError,
        begun: datetime,
        step: Step,
        *,
        heard: bool = True,
    ) -> None:
        problem = self._as_of_now(claim, network, problem)
        entry = policy.after_change(claim.entry, problem, now(), dice())
        what = _try(begun, step.value, type(problem).__name__, str(problem))
        self.finish(claim, entry, what, heard=_heard(network, problem) if heard else None)

    def _as_of_now(self, claim: Claim, network: Network, problem: DeliveryError) -> DeliveryError:
        """*problem* without a secret. That former credentials were refused closes nothing."""
        if isinstance(problem, Refused) and problem.closes:
            self._refresh()
            if self._destinations.get(claim.entry.destination) is not network:
                return TryLater("the credentials have changed since")
        return without_secrets(problem, self._redact)

    def settle_failure(
        self,
        claim: Claim,
        network: Network,
        problem: DeliveryError,
        begun: datetime,
        step: str,
        *,
        heard: bool = True,
    ) -> None:
        problem = self._as_of_now(claim, network, problem)
        entry = policy.after(
            claim.entry,
            problem,
            network.repeat,
            left=begun,
            now=now(),
            dice=dice(),
            insist=network.when_unsure == "repeat",
        )
        what = _try(begun, step, type(problem).__name__, str(problem))
        self.finish(claim, entry, what, heard=_heard(network, problem) if heard else None)

    def bury(self, claim: Claim) -> None:
        """A try whose process died. If nothing had left, it is as if it had never begun."""
        entry, left = claim.entry, claim.left
        network = self._destinations.get(entry.destination)
        if entry.deaths >= policy.DEADLY:
            self.finish(claim, policy.set_aside(entry, left))
        elif entry.moment is Moment.BADGE:
            self.finish(claim, badges.interrupted(entry, left, now()))
        elif left is None or entry.shown is not None:  # and a change is harmless to repeat
            self.finish(claim, replace(entry, state=State.DUE, next_at=now()))
        elif network is None:
            doubtful = replace(entry, doubtful_since=left)
            self.finish(claim, policy.failed(doubtful, "this destination is not configured"))
        else:
            unsure = Unsure("we stopped in the middle")
            self.settle_failure(claim, network, unsure, left, "publish", heard=False)

    def _judge_again(self, claim: Claim) -> None:
        """What is wanted has changed since the claim, or its lease ended: nothing was sent."""
        entry = claim.entry
        self.finish(claim, replace(entry, state=State.DUE, next_at=now(), tries=entry.tries - 1))


def manners_of(network: Network) -> Manners:
    """How an account keeps true what it said: as set, else the network's own way."""
    edits = isinstance(network, Revises)
    return Manners(
        Ending(network.when_ended or network.ends_by),
        retitles=edits and network.when_retitled != "leave",
        removes=isinstance(network, Removes),
        again=network.repeats_every,
        renews_badge=isinstance(network, Shines)
        and network.wants_badge
        and network.badge_lasts is not None,
    )


def fingerprint(network: Network) -> str:
    """Changes when an account's settings do, and tells nothing of them. All of them: a wrong
    address or name is refused like a wrong password.
    """
    plain = network.model_dump(exclude_defaults=True)  # shows secrets as asterisks
    secret = "\0".join([repr(plain), *secrets_of(network)])
    return hashlib.scrypt(secret.encode(), salt=b"announcer", n=2**10, r=8, p=1, dklen=16).hex()


def _try(begun: datetime, step: str, outcome: str, reason: str = "") -> Try:
    return Try(begun, max(0.0, (now() - begun).total_seconds()), step, outcome, reason)


def _heard(network: Network, problem: DeliveryError) -> Heard:
    closes = isinstance(problem, Refused) and problem.closes
    return Heard(problem, (fingerprint(network), str(problem)) if closes else None)


def _closed(claim: Claim, network: Network) -> str:
    """Why nothing at all may be sent to a destination; empty if it is open."""
    if claim.closed and claim.closed[0] == fingerprint(network):
        return f"{policy.CLOSED}: {claim.closed[1]}"
    return ""


def _overtaken(entry: Entry) -> str:
    told = entry.moment is not Moment.ENDED
    return "the stream stopped before it was told" if told else "the stream came back"


def _too_late(entry: Entry, breaker: Breaker | None = None) -> str:
    reason = entry.reason or (breaker.reason if breaker else "")
    return f"too late: {reason}" if reason else "too late"


def without_secrets(problem: DeliveryError, redact: Callable[[str], str]) -> DeliveryError:
    """The same error, sure to hold no secret: its words are a stranger's, and what it comes from
    quotes addresses.
    """
    problem.args = (redact(str(problem)),)
    problem.__cause__ = problem.__context__ = None
    return problem


def dice() -> float:
    return random.random()  # noqa: S311  # jitter and variants, no secret


def now() -> datetime:
    return datetime.now(UTC)
