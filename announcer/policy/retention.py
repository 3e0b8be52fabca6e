"""What may be forgotten: whatever is settled, is of no use any more, and is old."""

from collections.abc import Collection
from datetime import datetime, timedelta

from announcer.policy.broadcasts import Broadcast
from announcer.policy.posts import Entry, State

EVENTS_KEPT = timedelta(days=30)
"""How long events are known, to fold repeats of them."""
PICTURES_KEPT = timedelta(days=7)
"""How long after it last left with a post."""
UNSURE_KEPT = timedelta(days=30)
"""The least time that a person has to look whether a post is up."""
UNDER_WAY = (State.DUE, State.SENDING)


def forgettable(
    broadcast: Broadcast,
    posts: Collection[Entry],
    *,
    touched: datetime,
    needed: bool,
    now: datetime,
    keep: timedelta,
) -> bool:
    """Whether nobody needs *broadcast* and its *posts* any more. *touched* is when one of them was
    changed last. *needed* says that it is the newest of its channel, which every event is judged
    by, or has the last post of a destination, which the next one must differ from.
    """
    if needed or any(post.state in UNDER_WAY or post.change_at for post in posts):
        return False
    unsure = any(post.state is State.UNSURE for post in posts)
    keep = max(keep, UNSURE_KEPT) if unsure else keep
    signs = [broadcast.began, broadcast.since, broadcast.seen, broadcast.stopped, touched]
    ends = [time for post in posts for time in (post.until, post.change_until)]
    return all(time is None or now - time > keep for time in (*signs, *ends))
