"""What the application and the worker ask of a server, whichever it is."""
