"""One file a row format; the file is the registration.

A format file has

- ``KIND``: what its rows become: a name of ``examples.KINDS``;
- ``NEEDS``: the columns without which a row is not of this format: a tuple of groups, one name of each group
  must be there. ``BARE_LIST`` and ``BARE_TEXT`` stand for a row that is no object;
- ``ALSO``: groups of the same kind that it reads besides, where they are there;
- ``SAMPLE``: a few rows: test fixture, example of the documentation, preview;
- ``told(row)``, optional: a sentence where the format reads something otherwise than it stands;
- ``to_example(row)``: the example. Raises RowError with a reason in the person's language and the name of the
  rule that is broken (``reasons.REASONS``);
- ``fits(row)``, optional: whether the values may be of this format, where the columns alone do not decide
  (an output that is a list, a label that is true or false). Asked only of rows that have the columns;
- ``to_row(example)``, optional: the inverse of ``to_example``, for ``attune convert``. Raises RowError
  ``does_not_fit`` for what the form has no place for.

Of the names in a group, a format reads the first that is there. Where several formats fit a row, the one that
reads more of its columns is meant. A column that is null counts as absent. ``contract.FormatContract`` tests
any format.
"""
