"""What a move will cost, from a guest's dirty curve. Pure arithmetic: needs no lab, no root and no guest."""
