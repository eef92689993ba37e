"""From a recipe (data) to a tree, a disk or a film, stored by the hash of what went in."""
