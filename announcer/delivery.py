"""The second half: claim what is due, word it, send it, store what came back.

It never decides whether to speak. One slow or dead network delays no other: a pool of threads,
one post on its way for each destination.
"""

import hashlib
import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import structlog

from announcer import badges, chat, policy, quiet
from announcer.content import Channel, Composer, Content, thaw
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
from announcer.outbox import Claim, Outbox, StorageError, Try
from announcer.policy import Ending, Entry, Manners, NotLive, NotTold, Rules, State, Step
from announcer.quiet import NEVER, Quiet
from announcer.settings import secrets_of
from announcer.watch import About
from announcer.wording import Facts

log = structlog.get_logger("announcer.delivery")

STORE_AGAIN = (0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds between attempts to store what a network answered; the last one is repeated."""
DAY = timedelta(days=1)


class Delivery:
    """Brings what is visible in line with what is wanted, for the *destinations* given.

    *wake* is called when there may be something to do again; `run` does what is due now.
    """

    def __init__(
        self,
        outbox: Outbox,
        rules: Rules,
        destinations: Mapping[str, Network],
        channels: Mapping[str, Channel],
        composer: Composer,
        *,
        redact: Callable[[str], str],
        wake: Callable[[], None],
        quiet_rules: Quiet = NEVER,
    ) -> None:
        self._quiet = quiet_rules
        self._outbox, self._rules, self._channels = outbox, rules, channels
        self._destinations, self._composer = destinations, composer
        self._redact, self._wake = redact, wake
        self.owner = f"{socket.gethostname()[:30]}-{os.getpid()}-{os.urandom(4).hex()}"
        self._pool = ThreadPoolExecutor(max(4, len(destinations) + 2), "delivery")
        self._in_flight: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._stopping = False

    def run(self) -> datetime | None:
        """Send off everything that is due; when to be called again, None if nothing waits.

        Returns before the networks have answered. Raises StorageError.
        """
        if self._stopping:
            return None
        for claim in self._outbox.abandoned(self.owner, _now()):
            with self._lock:
                ours = self._in_flight[claim.entry.key] > 0
            if not ours:  # ours are being worked on, however long that takes
                self._bury(claim)
        while claims := self._outbox.claim(self.owner, _now(), limit=100):
            for claim in claims:
                if not self._start(claim):
                    self._finish(claim, replace(claim.entry, state=State.DUE))
            if self._stopping:
                return None
        return self._outbox.next_due()

    def _start(self, claim: Claim) -> bool:
        """False if we are stopping, and nothing was started."""
        with self._lock:
            if self._stopping:
                return False
            self._pool.submit(self._work, claim)
            self._in_flight[claim.entry.key] += 1
            return True

    def stop(self, patience: float) -> bool:
        """Start nothing more and wait up to *patience* seconds for what is on its way. False if
        something still is: its row says `sending`, and the next start finds out.
        """
        with self._lock:
            self._stopping = True
        self._pool.shutdown(wait=False, cancel_futures=False)
        deadline = time.monotonic() + patience
        while self._in_flight.total() and time.monotonic() < deadline:
            time.sleep(0.02)
        return not self._in_flight.total()

    def reopen_changed(self) -> None:
        """Forget that a destination was closed if its credentials have changed since."""
        for name, (credentials, _) in self._outbox.closed().items():
            network = self._destinations.get(name)
            if network and fingerprint(network) != credentials:
                self._outbox.reopen(name)
                log.info("destination", destination=name, outcome="reopened")

    def _work(self, claim: Claim) -> None:
        try:
            self._deliver(claim)
        except StorageError:
            # Before anything was sent, or after a clear refusal: all else insists on being stored.
            self._finish(claim, replace(claim.entry, state=State.DUE, next_at=_now()))
        except Exception as bug:  # the boundary of the thread: a bug must be seen
            log.exception("bug", post=claim.entry.key, reason=type(bug).__name__)
        finally:
            with self._lock:
                self._in_flight -= Counter([claim.entry.key])
            if not self._stopping:
                self._wake()

    def _deliver(self, claim: Claim) -> None:
        entry, begun = claim.entry, _now()
        network = self._destinations.get(entry.destination)
        if network is None:
            return self._finish(claim, policy.failed(entry, "this destination is not configured"))
        if entry.moment is Moment.BADGE:
            return self._badge(claim, network)
        match policy.next_step(entry, network.repeat, begun):
            case Step.WITHDRAW:
                return self._finish(claim, policy.withdrawn(entry, _overtaken(entry)))
            case Step.GIVE_UP:
                return self._finish(claim, policy.failed(entry, _too_late(entry)))
            case Step.PUBLISH:
                return self._publish(claim, network)
            case Step.REVISE | Step.REMOVE as step:
                return self._change(claim, network, step)
            case step:
                return self._find(claim, network, publish=step is Step.FIND_OR_PUBLISH)

    def _find(self, claim: Claim, network: Network, *, publish: bool) -> None:
        """Look whether an earlier try is up; only if it is not, go on."""
        entry, begun = claim.entry, _now()
        if not isinstance(network, Finds) or claim.content is None:
            return self._finish(claim, policy.failed(entry, "nobody can look"))
        try:
            receipt = network.find(thaw(claim.content).post(entry))
        except DeliveryError as problem:
            return self._settle_failure(claim, network, problem, begun, "find")
        except StorageError:
            raise
        except Exception as bug:  # it would hold up this destination for as long as its lease
            log.exception("bug", post=entry.key, reason=type(bug).__name__)
            mistake = TryLater(f"our own mistake while looking ({type(bug).__name__})")
            return self._settle_failure(claim, network, mistake, begun, "find")
        what = _try(begun, "find", "found" if receipt else "not up")
        if receipt:
            return self._finish(claim, policy.settled(entry), what, receipt)
        sure = replace(entry, doubtful_since=None)
        if entry.wanted is not entry.moment:
            return self._finish(claim, policy.withdrawn(sure, _overtaken(entry)), what)
        if not publish:
            return self._finish(claim, policy.failed(sure, _too_late(entry)), what)
        if held := self._held_back(claim, sure):
            return self._finish(claim, held, what)
        return self._publish(claim, network)

    def _publish(self, claim: Claim, network: Network) -> None:
        entry = claim.entry
        if held := self._held_back(claim, entry):
            return self._finish(claim, held)
        reason = self._why_not(claim, network)
        if reason:
            return self._finish(claim, policy.failed(entry, reason))
        try:
            again_at = self._wait(claim)
        except (NotLive, NotTold) as problem:
            return self._finish(claim, policy.withdrawn(entry, str(problem)))
        if again_at:
            # Waiting is no try.
            waiting = replace(entry, state=State.DUE, next_at=again_at, tries=entry.tries - 1)
            return self._finish(claim, replace(waiting, reason="waits until the stream is up"))
        if network.told_last and entry.moment is Moment.LIVE:
            announced = self._outbox.announced(entry.broadcast)
            others = [one for one, _ in announced if self._told_before(one)]
            if later := chat.wait_for_posts(entry, others, _now()):
                return self._finish(claim, later)
        content, picture = self._words_and_picture(claim, network)
        begun = _now()
        if begun > entry.until:
            return self._finish(claim, policy.failed(entry, _too_late(entry)))
        if not self._outbox.freeze(claim, content.frozen(), begun, picture):
            log.warning("lost", post=entry.key, reason="the lease ended before it was sent")
            return None
        try:
            answered_to = self._reply_to(claim, network)
            receipt = network.publish(content.post(entry, answered_to, picture))
        except DeliveryError as problem:
            return self._settle_failure(claim, network, problem, begun, "publish")
        except Exception as bug:  # it may be up, whatever broke: never just "failed"
            log.exception("bug", post=entry.key, reason=type(bug).__name__)
            mistake = Unsure(f"our own mistake after sending ({type(bug).__name__})")
            return self._settle_failure(claim, network, mistake, begun, "publish")
        what = _try(begun, "publish", "delivered", self._redact(receipt.note))
        return self._finish(claim, policy.settled(entry), what, receipt)

    def _held_back(self, claim: Claim, entry: Entry) -> Entry | None:
        """*entry* as the rules for quiet leave it, None if they let it pass. Asked once more right
        before it is told: a retry comes into the quiet hours, a pause while it was on its way.
        """
        paused = self._outbox.paused() is not None
        verdict = self._quiet.verdict(claim.broadcast.title, _now(), paused=paused)
        if entry.moment is Moment.AGAIN:
            reason = chat.skipped(claim.live[0] if claim.live else None, verdict)
            return replace(entry, state=State.FAILED, reason=reason) if reason else None
        held = quiet.hushed(entry, verdict)
        return None if held is entry else held

    def _why_not(self, claim: Claim, network: Network) -> str:
        """Why nothing may be put up at this destination now; empty if it may."""
        shut, budget = _closed(claim, network), network.daily_posts
        if not shut and budget is not None:
            spent = self._outbox.published_since(claim.entry.destination, _now() - DAY)
            if spent >= budget:
                return f"the budget of {budget} posts a day is spent"
        return shut

    def _wait(self, claim: Claim) -> datetime | None:
        """Until when to wait before telling, None to tell now. Raises NotLive or NotTold."""
        entry = claim.entry
        if entry.moment is Moment.ENDED:
            return policy.wait_for_start(claim.live[0] if claim.live else None, _now())
        watch = self._channel(entry).watch
        if entry.moment is Moment.AGAIN:
            newest = self._outbox.past(entry.channel).broadcast
            sight = watch.look() if watch else None
            return chat.wait_for_round(claim.broadcast, newest, sight, _now())
        if watch is None or (not self._rules.hold and entry.tries == 1):
            return None  # without a hold, a first try speaks at once
        return policy.wait_for_stream(entry, watch.look(), self._rules, _now())

    def _told_before(self, other: Entry) -> bool:
        """Whether a post that names the others waits for this one."""
        network = self._destinations.get(other.destination)
        return network is not None and not network.told_last

    def _reply_to(self, claim: Claim, network: Network) -> Receipt | None:
        answers = manners_of(network).ending is Ending.REPLY
        return claim.live[1] if claim.live and answers else None

    def _channel(self, entry: Entry) -> Channel:
        return self._channels.get(entry.channel) or Channel(entry.channel)

    def _change(self, claim: Claim, network: Network, step: Step) -> None:
        """Edit what is up, or take it away. Both are harmless to repeat."""
        entry, receipt = claim.entry, claim.receipt
        reason = _closed(claim, network)
        if reason:
            return self._finish(claim, policy.postponed(entry, reason, _now()))
        if receipt is None or claim.content is None:
            return self._finish(claim, policy.failed(entry, "there is no receipt of it"))
        content = None
        if step is Step.REVISE:
            shown = thaw(claim.content)
            keep = shown.template if shown.mood is entry.wanted else ""
            content = self._compose(claim, network, entry.wanted or entry.moment, keep)
            content = content.keeping_picture_of(shown)
            if entry.tries == 1 and content.says_the_same(shown):
                return self._finish(claim, policy.changed(entry))
        begun = _now()
        if not self._outbox.freeze(claim, None, begun):
            log.warning("lost", post=entry.key, reason="the lease ended before it was sent")
            return None
        try:
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
            mistake = Refused(f"our own mistake ({type(bug).__name__})")
            return self._settle_change(claim, network, mistake, begun, step)
        frozen = content.frozen() if content else None
        what = _try(begun, step.value, "delivered")
        return self._finish(claim, policy.changed(entry), what, receipt, frozen)

    def _badge(self, claim: Claim, network: Network) -> None:
        """Set it or clear it. It never closes the destination: the announcement may get through."""
        entry, begun = claim.entry, _now()
        live, receipt = claim.live or (None, None)
        on = isinstance(network, Shines) and network.wants_badge
        step, because = badges.next_step(entry, claim.broadcast, live, begun, on=on)
        if step is badges.Step.WITHDRAW:
            return self._finish(claim, policy.withdrawn(entry, because))
        if step is badges.Step.WAIT:
            return self._finish(claim, badges.waiting(entry))
        if not isinstance(network, Shines) or receipt is None:
            return self._finish(claim, policy.failed(entry, "there is nothing to set it beside"))
        card = self._composer.card(claim.broadcast, self._channel(entry))
        what: Try | None = None
        try:
            if shut := _closed(claim, network):
                raise TryLater(shut)
            if not self._outbox.freeze(claim, None, begun):
                log.warning("lost", post=entry.key, reason="the lease ended before it was sent")
                return None
            if step is badges.Step.SHINE:
                network.shine(receipt, card, begun, again=entry.shown is not None)
                entry = badges.lit(entry, network.badge_lasts, begun)
            else:
                network.dim(receipt, card)
                entry = badges.dimmed(entry, because)
            what = _try(begun, step.value, "delivered")
        except DeliveryError as problem:
            problem = _redacted(problem, self._redact)
            entry = badges.after(entry, problem, step, begun, _now(), _dice())
            what = _try(begun, step.value, type(problem).__name__, str(problem))
        except StorageError:
            raise
        except Exception as bug:  # it would hold up this destination for as long as its lease
            log.exception("bug", post=entry.key, reason=type(bug).__name__)
            mistake = Refused(f"our own mistake ({type(bug).__name__})")
            entry = badges.after(entry, mistake, step, begun, _now(), _dice())
            what = _try(begun, step.value, type(mistake).__name__, str(mistake))
        return self._finish(claim, entry, what)

    def _badge_beside(self, claim: Claim, entry: Entry) -> Entry | None:
        """The badge for *entry*, if that is an announcement which has just been put up."""
        network = self._destinations.get(entry.destination)
        up = entry.state is State.SETTLED and entry.shown is Moment.LIVE
        if not up or claim.entry.shown is not None:
            return None
        wanted = isinstance(network, Shines) and network.wants_badge
        return badges.beside(entry, _now()) if wanted else None

    def _words_and_picture(self, claim: Claim, network: Network) -> tuple[Content, Picture | None]:
        """Of what may be up already, byte for byte the same."""
        if claim.content and claim.entry.doubtful_since:
            content = thaw(claim.content)
            return content, self._outbox.picture(content.picture) if content.picture else None
        content = self._compose(claim, network, claim.entry.moment.mood)
        pictures = self._channel(claim.entry).pictures
        if not pictures or not network.shows_pictures or claim.entry.moment is not Moment.LIVE:
            return content, None
        facts = self._facts(claim)
        # Few networks can cover a picture, so what is not for all eyes is not shown.
        of_stream = not facts.nsfw and policy.has_picture(claim.broadcast, _now())
        shot = pictures.take(of_stream=of_stream)
        if shot is None:
            return content, None
        destination = claim.entry.destination
        content, problem = self._composer.illustrate(content, network, destination, facts, shot)
        if problem:
            log.error("template", post=claim.entry.key, reason=problem)
        return content, shot.picture

    def _facts(self, claim: Claim) -> Facts:
        channel = self._channel(claim.entry)
        about = channel.watch.about(ask=bool(self._rules.hold)) if channel.watch else About()
        network = self._destinations.get(claim.entry.destination)
        posts: tuple[tuple[str, str], ...] = ()
        if network and network.told_last:
            posts = chat.links(self._outbox.announced(claim.broadcast.id), self._destinations)
        return self._composer.facts(claim.broadcast, channel, about, posts)

    def _compose(self, claim: Claim, network: Network, mood: Moment, keep: str = "") -> Content:
        content = self._composer.compose(
            network,
            claim.entry.destination,
            mood,
            self._facts(claim),
            last=thaw(claim.last).template if claim.last else "",
            keep=keep,
            dice=_dice(),
            now=_now(),
        )
        if content.problem:
            log.error("template", post=claim.entry.key, reason=content.problem)
        return content

    def _settle_change(
        self, claim: Claim, network: Network, problem: DeliveryError, begun: datetime, step: Step
    ) -> None:
        problem = _redacted(problem, self._redact)
        entry = policy.after_change(claim.entry, problem, _now(), _dice())
        self._close_if_useless(claim, network, problem)
        what = _try(begun, step.value, type(problem).__name__, str(problem))
        self._finish(claim, entry, what)

    def _close_if_useless(self, claim: Claim, network: Network, problem: DeliveryError) -> None:
        """Before the post is finished, while it still keeps the next one from being claimed."""
        if isinstance(problem, Refused) and problem.closes:
            name = claim.entry.destination
            self._outbox.close(name, fingerprint(network), str(problem), _now())
            log.error("destination", destination=name, outcome="closed", reason=str(problem))

    def _settle_failure(
        self, claim: Claim, network: Network, problem: DeliveryError, begun: datetime, step: str
    ) -> None:
        problem = _redacted(problem, self._redact)
        entry = policy.after(
            claim.entry,
            problem,
            network.repeat,
            left=begun,
            now=_now(),
            dice=_dice(),
            insist=network.when_unsure == "repeat",
        )
        self._close_if_useless(claim, network, problem)
        self._finish(claim, entry, _try(begun, step, type(problem).__name__, str(problem)))

    def _bury(self, claim: Claim) -> None:
        """A try whose process died. If nothing had left, it is as if it had never begun."""
        entry, left = claim.entry, claim.left
        network = self._destinations.get(entry.destination)
        if entry.moment is Moment.BADGE:
            self._finish(claim, badges.interrupted(entry, left, _now()))
        elif left is None or entry.shown is not None:  # and a change is harmless to repeat
            self._finish(claim, replace(entry, state=State.DUE, next_at=_now()))
        elif network is None:
            doubtful = replace(entry, doubtful_since=left)
            self._finish(claim, policy.failed(doubtful, "this destination is not configured"))
        else:
            self._settle_failure(
                claim, network, Unsure("we stopped in the middle"), left, "publish"
            )

    def _finish(
        self,
        claim: Claim,
        entry: Entry,
        what: Try | None = None,
        receipt: Receipt | None = None,
        content: str | None = None,
    ) -> None:
        """Store it, however long the database takes: what a network answered must not be lost."""
        attempt = 0
        if entry.moment is Moment.AGAIN:
            network = self._destinations.get(entry.destination)
            entry = chat.next_round(entry, network.repeats_every if network else None, _now())
        badge = self._badge_beside(claim, entry)
        while True:
            try:
                stored = self._outbox.store(claim, entry, _now(), what, receipt, content, badge)
                break
            except StorageError as problem:
                if self._stopping and attempt >= len(STORE_AGAIN):
                    return  # its row still says `sending`: the next start finds out
                log.error("storage", post=entry.key, reason=type(problem).__name__)
                time.sleep(STORE_AGAIN[min(attempt, len(STORE_AGAIN) - 1)])
                attempt += 1
        planned = entry.state is State.DUE and entry.reason in ("", chat.WAITING)
        well = planned or entry.state in (State.SETTLED, State.WITHDRAWN)
        level = log.info if well else log.warning
        level(
            "post",
            post=entry.key,
            state=entry.state.value if stored else "lost to another owner",
            tries=entry.tries,
            outcome=what.outcome if what else None,
            next=entry.next_at.strftime("%H:%M:%SZ") if entry.state is State.DUE else None,
            reason=entry.reason or None,
        )


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
    return Try(begun, max(0.0, (_now() - begun).total_seconds()), step, outcome, reason)


def _closed(claim: Claim, network: Network) -> str:
    """Why nothing at all may be sent to a destination; empty if it is open."""
    if claim.closed and claim.closed[0] == fingerprint(network):
        return f"closed until its credentials change: {claim.closed[1]}"
    return ""


def _overtaken(entry: Entry) -> str:
    told = entry.moment is not Moment.ENDED
    return "the stream stopped before it was told" if told else "the stream came back"


def _too_late(entry: Entry) -> str:
    return f"too late: {entry.reason}" if entry.reason else "too late"


def _redacted(problem: DeliveryError, redact: Callable[[str], str]) -> DeliveryError:
    """The same error, sure to hold no secret: its words are a stranger's."""
    problem.args = (redact(str(problem)),)
    return problem


def _dice() -> float:
    return random.random()  # noqa: S311  # jitter and variants, no secret


def _now() -> datetime:
    return datetime.now(UTC)
