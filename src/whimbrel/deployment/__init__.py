"""A service that is put up outside any campaign, and moved when somebody says so."""
