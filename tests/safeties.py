"""What keeps the promise in our code, each with the text to take out and the test that must notice.

`make mutants` removes one at a time; a test of the suite sees that every text is still there.
"""

from typing import NamedTuple


class Safety(NamedTuple):
    protects: str
    file: str
    old: str
    new: str
    test: str
    """Its name without `test_` and the ids of faults."""


SAFETIES = (
    Safety(
        "the idempotency key",
        "announcer/networks/mastodon.py",
        "                    idempotency_key=self._idempotency_key(post, media),\n",
        "",
        "an_idempotency_key_belongs_to_one_account_and_one_try",
    ),
    Safety(
        "one record for one post on Bluesky",
        "announcer/networks/bluesky.py",
        "rkey = record_key(post)",
        "import time; rkey = str(time.time_ns())",
        "a_network_that_may_be_repeated_gets_the_same_bytes_again",
    ),
    Safety(
        "another key after a clear refusal",
        "announcer/policy/tries.py",
        "generation=entry.generation + 1",
        "generation=entry.generation",
        "each_definite_no_gets_a_new_wire_key_since_some_servers_replay_it",
    ),
    Safety(
        "full sync",
        "announcer/outbox/database.py",
        '"synchronous=FULL"',
        '"synchronous=NORMAL"',
        "what_is_acknowledged_was_synced_to_the_disk_before",
    ),
    Safety(
        "the write lock from the beginning",
        "announcer/outbox/database.py",
        '"BEGIN" if reading else "BEGIN IMMEDIATE"',
        '"BEGIN"',
        "two_writers_wait_for_each_other",
    ),
    Safety(
        "the lease (WHERE owner = me)",
        "announcer/outbox/claims.py",
        'posts.c.owner == sa.bindparam("our_owner"),',
        'posts.c.owner.is_not(None) | (posts.c.owner == sa.bindparam("our_owner")),',
        "after_a_takeover_the_first_owner_may_neither_send_nor_store",
    ),
    Safety(
        "the lease, asked once more before sending",
        "announcer/attempt.py",
        "if not self._outbox.freeze(claim, content.frozen(), begun, picture):",
        "if self._outbox.freeze(claim, content.frozen(), begun, picture) is None:",
        "a_process_that_slept_past_its_lease_sends_nothing_when_it_wakes",
    ),
    Safety(
        "one in flight for each destination",
        "announcer/migrations/versions/0001_first.py",
        "        unique=True,\n",
        "",
        "the_database_itself_holds_two_in_flight_for_a_mistake",
    ),
    Safety(
        "frozen content",
        "announcer/author.py",
        "if claim.content and claim.entry.doubtful_since:",
        "if claim.content and not claim.entry:",
        "harmless_to_repeat_means_the_same_bytes_with_the_same_key",
    ),
    Safety(
        "a look before a repeat",
        "announcer/policy/tries.py",
        "if entry.doubtful_since is not None and findable:",
        "if entry.doubtful_since is not None and not findable:",
        "it_looks_first_and_adopts_what_is_up",
    ),
    Safety(
        "no repeat where it doubles",
        "announcer/policy/tries.py",
        "if repeat is Repeat.DOUBLES and not insist:",
        "if repeat is None:",
        "where_a_repeat_doubles_it_is_left_to_a_person",
    ),
    Safety(
        "no answer is not a no",
        "announcer/wire.py",
        '    if isinstance(problem, requests.Timeout):\n        return Unsure("no answer in time")',
        '    if isinstance(problem, requests.Timeout):\n        return TryLater("no answer")',
        "only_what_never_left_is_surely_not_posted",
    ),
    Safety(
        "the deadline",
        "announcer/attempt.py",
        "if begun > entry.until:",
        "if begun is None:",
        "a_look_that_takes_past_the_deadline_starts_nothing_after_it",
    ),
    Safety(
        "the fold of events",
        "announcer/intake.py",
        "if stored.knows(event):",
        "if stored is None:",
        "a_repeat_changes_nothing_and_wakes_nobody",
    ),
    Safety(
        "the hold",
        "announcer/policy/broadcasts.py",
        "        speak_at=event.at + rules.hold,",
        "        speak_at=event.at,",
        "a_start_of_a_new_broadcast",
    ),
    Safety(
        "the signature",
        "announcer/web/webhooks.py",
        "if secret and hmac.compare_digest(_digest(secret, signed), signature):",
        "if secret:",
        "without_a_good_signature_nobody_is_heard",
    ),
    Safety(
        "no signature with an empty secret",
        "announcer/web/webhooks.py",
        "if secret and hmac.compare_digest(_digest(secret, signed), signature):",
        'if hmac.compare_digest(_digest(secret or SecretStr(""), signed), signature):',
        "a_server_without_a_secret_can_not_be_spoken_for_with_an_empty_one",
    ),
    Safety(
        "the time of a signature",
        "announcer/web/webhooks.py",
        "if abs(proof.ahead) > WINDOW:",
        "if not proof:",
        "owncasts_own_signature_is_good_for_300_seconds_either_way",
    ),
    Safety(
        "comparing in constant time",
        "announcer/web/webhooks.py",
        "if secret and hmac.compare_digest(secret.get_secret_value().encode(), token):",
        "if secret and secret.get_secret_value().encode() == token:",
        "tokens_are_compared_in_constant_time_and_all_of_them",
    ),
    Safety(
        "the size of a webhook",
        "announcer/web/webhooks.py",
        "    request.max_content_length = LARGEST + 1",
        "    request.max_content_length = LARGEST * 100",
        "no_more_than_256_kib_are_read_into_memory",
    ),
    Safety(
        "allowed_mentions",
        "announcer/networks/discord.py",
        '        "allowed_mentions": {"parse": []},\n',
        "",
        "an_edit_pings_nobody",
    ),
    Safety(
        "broken mentions",
        "announcer/network.py",
        "return _MENTION.sub(lambda at: at.group() + ZERO_WIDTH_SPACE, text)",
        "return text",
        "no_mention_survives_escaping",
    ),
    Safety(
        "the escape of a dialect",
        "announcer/networks/discord.py",
        "        return _escape(text)\n",
        "        return text\n",
        "a_title_is_plain_text",
    ),
    Safety(
        "escaping whatever a template prints",
        "announcer/sandbox.py",
        "pieces[::2] = map(self._escape, pieces[::2])",
        "pieces[::2] = pieces[::2]",
        "values_are_escaped_once_and_our_own_never",
    ),
    Safety(
        "the total time of a request",
        "announcer/wire.py",
        "        timer.start()\n",
        "        timer.cancel()\n",
        "every_fault_has_its_meaning_within_the_total_limit",
    ),
    Safety(
        "the size of an answer, inflated",
        "announcer/wire.py",
        "if len(body) > size:",
        "if not size:",
        "an_answer_is_inflated_no_further_than_its_limit",
    ),
    Safety(
        "no redirects",
        "announcer/wire.py",
        "self.max_redirects = 0",
        "self.max_redirects = 3",
        "a_redirect_is_never_followed",
    ),
    Safety(
        "the configured host only",
        "announcer/wire.py",
        'if _place(request.url or "") != self._place:',
        "if not request.url:",
        "another_host_is_refused_before_anything_leaves",
    ),
    Safety(
        "no proxy from the environment",
        "announcer/wire.py",
        "self.trust_env = False",
        "self.trust_env = True",
        "proxies_and_passwords_of_the_environment_are_ignored",
    ),
    Safety(
        "no absurd wait",
        "announcer/wire.py",
        "return min(max(waits), LONGEST_WAIT)",
        "return max(waits)",
        "every_form_of_wait_is_understood_and_no_absurd_one",
    ),
    Safety(
        "the budget of X",
        "announcer/attempt.py",
        "if spent >= budget:",
        "if spent < 0:",
        "the_budget_of_a_day_counts_every_try_and_is_never_passed",
    ),
    Safety(
        "a closed account is left alone",
        "announcer/attempt.py",
        "if isinstance(problem, Refused) and problem.closes:",
        "if isinstance(problem, Refused) and not problem.closes:",
        "a_closed_account_is_never_called_again_even_after_a_restart",
    ),
    Safety(
        "no secret in a log",
        "announcer/logs.py",
        "            redactor.process,\n",
        "",
        "a_secret_is_never_said",
    ),
    Safety(
        "no secret in a reason",
        "announcer/attempt.py",
        "problem.args = (redact(str(problem)),)",
        "problem.args = (str(problem),)",
        "no_secret_gets_into_the_reason",
    ),
    Safety(
        "a database for its owner only",
        "announcer/outbox/database.py",
        "os.close(os.open(address.database, os.O_RDWR | os.O_CREAT, 0o600))",
        "os.close(os.open(address.database, os.O_RDWR | os.O_CREAT, 0o644))",
        "nobody_else_on_the_machine_can_read_it",
    ),
    Safety(
        "no waiting for a reader of the log",
        "announcer/logs.py",
        "if not poll.poll(0 if self._lost else PATIENCE * 1000):",
        "if not poll.poll():",
        "a_log_that_takes_nothing_never_holds_up_a_post",
    ),
    Safety(
        "waiting when there are no more files",
        "announcer/web/worker.py",
        "if problem.errno not in SCARCE:",
        "if problem.errno:",
        "without_files_left_it_waits_and_then_goes_on",
    ),
)
