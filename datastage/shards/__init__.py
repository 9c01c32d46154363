"""Shards: WebDataset tars, and the small index that says what they hold."""
