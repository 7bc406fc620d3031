"""One file an objective, each a pure function; the file is the registration."""
