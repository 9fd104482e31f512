"""A bare Flask route that returns a constant page of as many bytes as the shop's front page."""

import os

from flask import Flask

PAGE = "x" * int(os.environ.get("BENCH_BYTES", "10000"))

app = Flask(__name__)
app.add_url_rule("/", view_func=lambda: PAGE, endpoint="index")
