"""Every judgement: hold, grace, resume, who is told, what follows a failure, when to give up.

Pure: `now`, the past and the rules come in, a decision with its reason goes out. Times named
*stamp* or *connected* are Owncast's clock and only put its events in order; all others are ours.
`broadcasts` judges events, `posts` what becomes of each post then, `tries` the next step of one.
"""

from announcer.policy.broadcasts import (
    FORGOTTEN,
    MERGE,
    REORDERED,
    Broadcast,
    Decision,
    Past,
    Rules,
    decide,
)
from announcer.policy.posts import (
    CHANGE,
    Ending,
    Entry,
    Hush,
    Manners,
    State,
    entry_for,
    follow,
    wants_an_end,
)
from announcer.policy.tries import (
    LOOK_AGAIN,
    NotLive,
    NotTold,
    Sight,
    Step,
    after,
    after_change,
    backoff,
    changed,
    failed,
    has_picture,
    next_step,
    postponed,
    settled,
    wait_for_start,
    wait_for_stream,
    withdrawn,
)

__all__ = [
    "CHANGE",
    "FORGOTTEN",
    "LOOK_AGAIN",
    "MERGE",
    "REORDERED",
    "Broadcast",
    "Decision",
    "Ending",
    "Entry",
    "Hush",
    "Manners",
    "NotLive",
    "NotTold",
    "Past",
    "Rules",
    "Sight",
    "State",
    "Step",
    "after",
    "after_change",
    "backoff",
    "changed",
    "decide",
    "entry_for",
    "failed",
    "follow",
    "has_picture",
    "next_step",
    "postponed",
    "settled",
    "wait_for_start",
    "wait_for_stream",
    "wants_an_end",
    "withdrawn",
]
