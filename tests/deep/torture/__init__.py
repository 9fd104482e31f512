"""A shop that is killed at random moments while people buy and write, and its books afterwards.

`make torture` runs it for as long as one likes, `make deep` 60 times, `make test` a few times.
"""
