"""What every test may ask for."""

pytest_plugins = [
    "announcer.contract.fake",
    "tests.rogue",
    "tests.impostor",
    "tests.servers.fixtures",
]
