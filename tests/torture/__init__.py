"""Kills the service again and again, and asks the people of a town what they saw.

`lives` starts and kills it, `plays` says what happens, `stage` plays one, `judge` gives the
verdict, `databases` are where it is kept. `python -m tests.torture` runs all of it.
"""
