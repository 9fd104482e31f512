"""What the shop costs beside a bare Flask app, measured in turn in fresh processes.

`make bench` prints the table of docs/benchmarks.md. Only the ratios mean anything elsewhere.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile

ROUNDS = 7
PAGES = 300
BARE = """
from flask import Flask
app = Flask("bare")
page = "x" * 6000
app.add_url_rule("/", "index", lambda: page)
"""
SHOP = """
import os
from shop import create_app
app = create_app({"SHOP_DATA_DIR": os.environ["DATA"]})
"""
MEASURE = """
import json, resource, time
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
client = app.test_client()
client.get("/").get_data()
start, memory = cpu(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
for _ in range(PAGES):
    client.get("/").get_data()
print(json.dumps({"start": start * 1000, "memory": memory, "page": (cpu() - start) * 1000 / PAGES}))
"""
ROWS = (
    ("start to the first page, CPU ms", "start"),
    ("memory after it, MiB", "memory"),
    ("one more front page, CPU ms", "page"),
)


def run(program: str, data: str) -> dict[str, float]:
    """Return the figures of one fresh process."""
    environ = {**os.environ, "DATA": data}
    answer = subprocess.run(
        [sys.executable, "-c", f"PAGES = {PAGES}\n{program}{MEASURE}"],
        env=environ,
        check=True,
        capture_output=True,
    )
    return dict(json.loads(answer.stdout))


def main() -> None:
    """Measure both in turn and print the medians and their ratio."""
    with tempfile.TemporaryDirectory() as data:
        fill = (
            "import os\n"
            + SHOP
            + "from shop.migrations import upgrade\nfrom shop.demo import fill\n"
        )
        fill += "with app.app_context():\n    upgrade()\n    fill()\n"
        subprocess.run([sys.executable, "-c", fill], env={**os.environ, "DATA": data}, check=True)
        pairs = [(run(SHOP, data), run(BARE, data)) for _ in range(ROUNDS)]
    print("| | shop | bare Flask | ratio |\n|---|---|---|---|")
    for label, name in ROWS:
        ours = statistics.median(shop[name] for shop, _ in pairs)
        bare = statistics.median(bare[name] for _, bare in pairs)
        ratio = statistics.median(shop[name] / bare[name] for shop, bare in pairs)
        print(f"| {label} | {ours:.2f} | {bare:.2f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
