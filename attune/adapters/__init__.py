"""One file a fine-tuning method; the file is the registration."""
