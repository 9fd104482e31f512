"""One round of torture: load and kills, then quiet, then the comparison of the books."""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.deep.torture.books import differences
from tests.deep.torture.load import Diary, Load
from tests.deep.torture.world import World

BUYERS, POSTERS = 4, 2
# Between two blows, and while Stripe is slow: then a blow falls while the shop waits for it.
MOST_ANSWERS, FEW_ANSWERS = 30, 4
# One blow in so many takes the master too.
MASTER_EVERY = 3
WEBHOOKS = {"deliver": 6, "duplicate": 2, "reorder": 1, "delay": 1, "drop": 2}
API = {"ok": 5, "slow": 3, "lost": 1}
RESENT = 20


@dataclass
class Outcome:
    """What one round did, and what differs; `seed` chooses who does what (not when)."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    orders: Counter[str] = field(default_factory=Counter)
    posts: int = 0
    broken: int = 0
    healed: int = 0
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        kills = f"{self.kills['worker']} workers and {self.kills['shop']} shops killed"
        orders = ", ".join(f"{count} {state}" for state, count in sorted(self.orders.items()))
        done = f"orders: {orders or 'none'}; {self.posts} posts; {self.broken} requests broken"
        result = f"{self.healed} orders healed by reconcile; {len(self.differences)} differences"
        return f"seed {self.seed}: {kills}; {done}; {result}"


def torture(
    kind: str,
    folder: Path,
    *,
    kills: int,
    seed: int,
    name: str,
    workers: int = 2,
    progress: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Kill a shop on a fresh database of this kind so many times, then compare its books."""
    rng = random.Random(seed)
    outcome = Outcome(seed)
    with World(kind, folder, name, workers) as world:
        with Load(world, str(seed), BUYERS, POSTERS) as load:
            while (done := outcome.kills.total()) < kills:
                progress(f"{done} of {kills} kills, {load.diary.statuses.total()} answers")
                _strike(world, load.diary, rng, outcome.kills)
        progress("comparing the books")
        _settle(world, rng, outcome)
        outcome.differences += differences(world, load.diary)
        outcome.orders.update(
            order["state"] for order in json.loads(world.flask("orders", "--json"))
        )
        outcome.posts, outcome.broken = len(load.diary.posted), load.diary.broken
    return outcome


def _strike(world: World, diary: Diary, rng: random.Random, kills: Counter[str]) -> None:
    """Kill somebody at a random instant, after some work was done."""
    api = _any_of(rng, API)
    world.switch("api", mode=api, seconds=1, times=0 if api == "slow" else 2)
    world.switch("webhooks", mode=_any_of(rng, WEBHOOKS))
    diary.wait_for_answers(rng.randint(1, FEW_ANSWERS if api == "slow" else MOST_ANSWERS))
    time.sleep(rng.uniform(0, 0.2))  # not just after an answer, when little is under way
    if kills.total() % MASTER_EVERY:
        kills["worker"] += world.kill_worker(rng)
        return
    world.kill_shop()
    kills["shop"] += 1
    world.start_shop()


def _any_of(rng: random.Random, weights: dict[str, int]) -> str:
    return rng.choices(list(weights), list(weights.values()))[0]


def _settle(world: World, rng: random.Random, outcome: Outcome) -> None:
    """Let everything come to its end: events and reconciliation, either first, then mail."""

    def reconcile() -> None:
        outcome.healed += _reconcile(world)["settled"]

    world.switch("api", mode="ok")
    steps = [world.redeliver, reconcile]
    rng.shuffle(steps)
    for step in steps:
        step()
    again = _reconcile(world)
    if again["settled"] or again["mismatches"]:
        outcome.differences.append(f"reconcile is not done after the first time: {again}")
    world.flask("mail", "send")
    events = world.stripe("events")
    for event in rng.sample(events, min(RESENT, len(events))):
        world.switch(f"events/{event['id']}/resend")


def _reconcile(world: World) -> dict[str, Any]:
    return dict(json.loads(world.flask("reconcile", "--json")))
