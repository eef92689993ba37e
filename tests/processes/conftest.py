"""Commands from outside that leave the machine alone: no group of a live page, no namespace, no ledger there."""

from __future__ import annotations

from tests.homes import home_of_its_own, homes

__all__ = ["home_of_its_own", "homes"]
