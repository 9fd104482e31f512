"""Orders: what was ordered, what became of it, and what it holds. No HTTP and no Stripe here."""
