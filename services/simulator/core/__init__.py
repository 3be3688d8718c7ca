"""The copy decision, pure: sizing, guardrails, walk, fees, and the portfolio as a decision sees it (SPEC section 5)."""
