"""What operators take as it is: container, compose files and unit agree with the service."""

import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]  # its types are in a package of their own

from announcer.web.server import GRACE

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
UNIT = (ROOT / "examples/announcer.service").read_text("utf-8")


def service(file: str) -> dict[str, Any]:
    described: dict[str, Any] = yaml.safe_load((ROOT / file).read_text("utf-8"))
    ours: dict[str, Any] = described["services"]["announcer"]
    return ours


COMPOSE = {file: service(file) for file in ("compose.yaml", "compose.replicas.yaml")}


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


@pytest.mark.parametrize(
    "granted",
    [
        pytest.param(seconds(COMPOSE["compose.yaml"]["stop_grace_period"]), id="compose"),
        pytest.param(seconds(COMPOSE["compose.replicas.yaml"]["stop_grace_period"]), id="replicas"),
        pytest.param(int(re.findall(r"(?m)^TimeoutStopSec=(\d+)$", UNIT)[0]), id="systemd"),
    ],
)
def test_a_stop_has_the_time_that_a_post_on_its_way_may_take(granted: int) -> None:
    assert granted >= GRACE + 5


@pytest.mark.parametrize("file", COMPOSE)
def test_a_container_can_do_no_more_than_it_has_to(file: str) -> None:
    ours = COMPOSE[file]
    assert ours["read_only"] is True
    assert ours["cap_drop"] == ["ALL"]
    assert ours["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in ours
    assert all(port.startswith("127.0.0.1:") for port in ours.get("ports", ()))


def test_the_image_is_made_of_one_base_and_needs_no_shell_to_run() -> None:
    assert len(set(re.findall(r"(?m)^FROM (\S+)", DOCKERFILE))) == 1
    for instruction in ("ENTRYPOINT", "CMD", "HEALTHCHECK .* CMD"):
        (form,) = re.findall(rf"(?m)^{instruction} (.)", DOCKERFILE)
        assert form == "[", f"{instruction} would be given to a shell"
    (user,) = re.findall(r"(?m)^USER (\S+)$", DOCKERFILE)
    assert int(user) > 1000, "by number: Kubernetes can tell that it is not root"


def test_what_the_image_is_made_of_is_let_through() -> None:
    """`.dockerignore` shuts everything out but what it names."""
    let_through = re.findall(r"(?m)^!(\S+)$", (ROOT / ".dockerignore").read_text("utf-8"))
    copied = [
        source
        for sources in re.findall(r"(?m)^COPY (?!--from)(.+) \S+$", DOCKERFILE)
        for source in sources.split()
    ]
    assert copied
    assert {one for one in copied if not any(fnmatch(one, name) for name in let_through)} == set()
    assert set(let_through) == set(copied), "and nothing else"


def test_the_unit_confines_the_service() -> None:
    settings = dict(re.findall(r"(?m)^(\w+)=(.*)$", UNIT))
    assert settings["User"] == "announcer"
    assert settings["ProtectSystem"] == "strict"
    assert settings["CapabilityBoundingSet"] == ""
    assert settings["NoNewPrivileges"] == "yes"
    assert settings["WorkingDirectory"] == f"/var/lib/{settings['StateDirectory']}"
