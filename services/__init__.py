"""Shadowbook's services: see README.md beside this file."""
