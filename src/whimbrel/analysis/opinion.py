"""An estimate of how people would rate what they saw. Pure.

Only stalls count in it: no picture quality, no start-up delay. The model is that of T. Hossfeld, R. Schatz, E. Biersack,
L. Plissonneau, "Internet Video Delivery in YouTube: From Traffic Measurements to Quality of Experience", in Data Traffic
Monitoring and Analysis, LNCS 7754, 2013, fitted to short clips.
"""

from __future__ import annotations

import math


def stalling_mos(stalls: int, stalled_s: float) -> float:
    """Mean opinion score from 1.5 (bad) to 5 (excellent): 3.5 exp(-(0.15 L + 0.19) N) + 1.5, L the mean stall in s, N stalls.

    Worked example: no stall gives 5; one of 3 s gives 3.5 exp(-0.64) + 1.5 = 3.35.
    """
    mean_s = stalled_s / stalls if stalls else 0.0
    return 3.5 * math.exp(-(0.15 * mean_s + 0.19) * stalls) + 1.5
