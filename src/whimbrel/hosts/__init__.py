"""What a host, and a site of several, can do for us, whoever runs them; hosts by URI."""
