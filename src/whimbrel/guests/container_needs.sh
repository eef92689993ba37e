#!/bin/bash
# Prints what the container takes: its memory in bytes, or "unknown"; and what it has written into files.
cat "$GROUP/memory.current" 2>/dev/null || echo unknown
du -s -B1 "$HOME_OF/upper" | cut -f1
