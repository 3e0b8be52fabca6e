"""The short form of `make torture`, and proof that its judge can say no. Each runs as a process of
its own, because it forks.
"""

import json
import re
import subprocess
import sys

import pytest

WELL = ("doubles 0", "losses 0", "acknowledged events lost 0", "never at rest 0", "end 0", "post 0")


def torture(*options: str) -> tuple[int, str]:
    """Exit status and what was said."""
    program = [sys.executable, "-m", "tests.torture", *options]
    ran = subprocess.run(program, capture_output=True, text=True, timeout=120, check=False)
    return ran.returncode, ran.stdout + ran.stderr


def test_a01_a05_a07_a08_a18_a19_a20_g02_no_kill_is_seen_by_anybody() -> None:
    """Every network, at named points and at random; the seed is in what is said."""
    status, said = torture("--kills", "30", "--seconds", "20", "--real", "10")
    assert status == 0, said
    reports = [line for line in said.splitlines() if " kills in " in line]
    assert {report.partition(",")[0] for report in reports} == {"SQLite", "PostgreSQL"}
    for report in reports:
        assert all(words in report for words in WELL)
    kills = sum(int(found) for found in re.findall(r"(\d+) kills in", said))
    assert kills > 5, said


POINT = "POST /api/v1/statuses: answered#1"


@pytest.mark.parametrize(
    ("sabotage", "street", "death", "verdict"),
    [
        ("no key", "mastodon unseen", POINT, "double"),
        ("blind", "x", "POST /*/tweets: answered#1", "double"),
        ("bold", "discord", "POST /api/v10/webhooks/*/*: answered#1", "double"),
        ("forgetful", "discord", "POST /api/v10/webhooks/*/*: sent#1", "double"),
        ("hasty", "chat", "event: before commit#1", "unheard"),
    ],
)
def test_the_judge_finds_what_is_broken_on_purpose(
    sabotage: str, street: str, death: str, verdict: str
) -> None:
    told = {"number": 1, "seed": 1, "street": street, "play": "live", "deaths": [death]}
    how = "--lanes", "1", "--database", "sqlite", "--case", json.dumps(told)
    status, said = torture(*how)
    assert status == 0, said
    status, said = torture(*how, "--sabotage", sabotage)
    assert status == 1, said
    assert verdict in {line.partition(":")[0] for line in said.splitlines()}, said
