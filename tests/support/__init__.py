"""Helpers that several tests share: runs made without an engine, a scripted engine, sandboxes, hostile programs."""
