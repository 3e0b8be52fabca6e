"""What every test may ask for."""

pytest_plugins = [
    "announcer.contract.fake",
    "tests.servers.fixtures",
    "tests.rogue",
    "tests.impostor",
]
