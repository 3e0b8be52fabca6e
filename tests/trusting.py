"""`announcer` in a hurry, which trusts the authority that $TRUSTED names and no other."""

import os
import runpy

import requests.adapters

if __name__ == "__main__":
    requests.adapters.DEFAULT_CA_BUNDLE_PATH = os.environ["TRUSTED"]
    runpy.run_module("tests.hurried", run_name="__main__")
