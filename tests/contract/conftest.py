"""The contracts run on the same real lab as the tests that move guests."""

from __future__ import annotations

from tests.lab.conftest import lab, spec, states

__all__ = ["lab", "spec", "states"]
