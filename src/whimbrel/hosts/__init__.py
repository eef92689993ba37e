"""What a host and a vantage can do for us, whoever runs them."""
