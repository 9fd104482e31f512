"""The secrets of the tests: values that nothing else contains, so that a log which has one leaks.

`conftest.py` looks for them in everything that each test logs or prints.
"""

SECRET_KEY = "signing key, canary Wq7mB2xKd9"
STRIPE_KEY = "sk_test_canaryHt4vN8zRs1"
WEBHOOK_SECRET = "whsec_canaryYc6pJ3fLg5"
CARD_TOKEN = "tok_canaryDx5wT9bQe2"
MAIL_PASSWORD = "canaryUn8kG4hVa7"
DATABASE_PASSWORD = "canaryMz1sF6jPo3"
TASK_TOKEN = "canary-task-Ek9rC5yXi8"
OWNER_PASSWORD = "canary password Lb2dS7uWn4"

_ALL = {
    "SECRET_KEY": "Wq7mB2xKd9",
    "STRIPE_KEY": "Ht4vN8zRs1",
    "WEBHOOK_SECRET": "Yc6pJ3fLg5",
    "CARD_TOKEN": "Dx5wT9bQe2",
    "MAIL_PASSWORD": "Un8kG4hVa7",
    "DATABASE_PASSWORD": "Mz1sF6jPo3",
    "TASK_TOKEN": "Ek9rC5yXi8",
    "OWNER_PASSWORD": "Lb2dS7uWn4",
    # Where a customer lives, and their telephone.
    "an address": "Canary Lane 77",
    "a telephone": "09055501234",
    # What most tests pay with is as secret as a card token of Stripe's.
    "a named card token": "tok_visa",
}


def found_in(text: str) -> list[str]:
    """Return the name of each secret that the text shows, with the line that shows it."""
    return [
        f"{name}: {line[:300]}"
        for line in text.splitlines()
        for name, canary in _ALL.items()
        if canary in line
    ]
