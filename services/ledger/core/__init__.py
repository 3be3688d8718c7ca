"""The arithmetic of the books, pure: entries from facts, fold, settlement, attribution, valuation."""
