"""One file a family of findings; the file is the registration.

A file of this shelf looks at a data set example by example and says what would make training wrong. It has

- ``NAMES``: its findings by name, each with one sentence (``English | 中文``) that says what it means. The
  name is what a person writes to accept the finding: ``data.accept=[near_duplicates]``;
- ``KINDS``: the kinds of examples that it looks at (names of ``examples.KINDS``);
- ``Detector``: a class as ``contract.Detector`` describes it.

``contract.DetectorContract`` tests any of them.
"""
