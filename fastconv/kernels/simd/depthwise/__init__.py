"""Convolutions of one kernel a channel."""
