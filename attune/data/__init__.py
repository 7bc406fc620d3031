"""From files to token ids: reading, formats, templates, encoding, layout and packing."""
