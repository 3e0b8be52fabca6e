"""Networks that other packages bring, and those of ours that nobody configured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from announcer import networks, wiring
from announcer.settings import SettingsError

ROOT = Path(__file__).parents[1]
MODULE = '''
from announcer.network import Account, Network, Post, Receipt, Repeat
from announcer.settings import setting
from pydantic import SecretStr

class Loft(Network):
    """A dovecote."""
    name, title, unit, usual_limit, repeat = "loft", "Loft", "letters", 300, Repeat.DOUBLES
    token: SecretStr = setting("The pigeon's ring.")

    def publish(self, post: Post) -> Receipt:
        return Receipt("7")

    def check(self) -> Account:
        return Account("pigeon")

class LoftByRoad(Loft):
    title = "Loft by road"
    switched_on_by = ("cart",)
    token: SecretStr | None = setting("The pigeon's ring.", default=None)
    cart: str = setting("The cart.")
'''
LOFT = {"LOFT_TOKEN": "ring-of-the-pigeon"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Another package with a network, as pip would install it."""
    module = tmp_path / "announcer_loft.py"
    module.write_text(MODULE)
    told = tmp_path / "announcer_loft-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: announcer-loft\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text(f"[{networks.GROUP}]\nloft = announcer_loft\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "announcer_loft", raising=False)
    return module


@pytest.mark.usefixtures("package")
def test_a_package_brings_a_network_by_an_entry_point() -> None:
    settings = wiring.read(LOFT | {"LOFT__FARM__TOKEN": "another-ring"})
    assert {name: one.title for name, one in settings.destinations.items()} == {
        "loft": "Loft",
        "loft.farm": "Loft",
    }
    assert "ring-of-the-pigeon" in settings.secrets()


@pytest.mark.usefixtures("package")
def test_an_account_is_of_the_kind_whose_fields_are_set() -> None:
    settings = wiring.read({"LOFT_CART": "red"})
    assert settings.destinations["loft"].title == "Loft by road"


@pytest.mark.usefixtures("package")
def test_an_account_of_two_kinds_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match="Loft and Loft by road are both set: keep one"):
        wiring.read(LOFT | {"LOFT_CART": "red"})


@pytest.mark.usefixtures("package")
def test_a_misspelt_network_of_a_package_is_found() -> None:
    with pytest.raises(SettingsError, match="LOFD_TOKEN: no such setting; did you mean LOFT_TOKEN"):
        wiring.read({"LOFD_TOKEN": "ring-of-the-pigeon"})


def test_a_network_without_its_library_says_what_to_install(package: Path) -> None:
    package.write_text(f"import a_library_that_nobody_has\n{MODULE}")
    with pytest.raises(SettingsError) as problem:
        wiring.read(LOFT)
    assert problem.value.problems == [
        "LOFT_...: install the package of announcer_loft: a_library_that_nobody_has is missing"
    ]
    assert wiring.read({}).destinations == {}, "and nobody who does not use it is bothered"


def test_no_package_takes_the_place_of_one_of_ours(package: Path) -> None:
    (package.parent / "announcer_loft-1.0.dist-info" / "entry_points.txt").write_text(
        f"[{networks.GROUP}]\nmqtt = announcer_loft\n"
    )
    (mqtt,) = networks.places()["mqtt"]()
    assert mqtt.__module__ == "announcer.networks.mqtt"


@pytest.mark.parametrize("used", ["", "bluesky"])
def test_a_network_that_nobody_configured_is_never_imported(used: str) -> None:
    program = (
        "import json, sys\n"
        "from announcer import wiring\n"
        f"wiring.read({{'{used.upper()}_WHEN_UNSURE': 'stop', 'MAIL': '/var/mail/kestrel'}})\n"
        "found = [name for name in sys.modules if name.startswith('announcer.networks.')]\n"
        "print(json.dumps(found))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=ROOT)
    assert json.loads(ran.stdout) == ([f"announcer.networks.{used}"] if used else [])
