"""The forms a service takes, and the saved states that trials start from."""
