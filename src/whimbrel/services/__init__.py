"""What runs in a guest and is asked by clients: a module for each service, which answers the questions of ``service.Service``."""
