"""Checks by URL: questions to a service that anybody runs, and what became of each."""
