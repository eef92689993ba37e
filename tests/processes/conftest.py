from __future__ import annotations

from tests.homes import home_of_its_own, homes

__all__ = ["home_of_its_own", "homes"]
