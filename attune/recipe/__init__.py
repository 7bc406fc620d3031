"""What a person asks for: schema, loading, errors and messages."""
