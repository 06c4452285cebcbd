"""Which files of tests are begun with."""

# Files that take minutes, the longest first: begun last, one of them would keep one worker while the others idle.
LONGEST = (
    "tests/pipeline/test_distill.py",
    "tests/test_frozen.py",
    "tests/docs/test_notebooks.py",
    "tests/test_packaging.py",
    "tests/study/test_runner.py",
    "tests/serve/test_serve_page.py",
    "tests/pipeline/test_stages.py",
    "tests/pipeline/test_teaching.py",
    "tests/fuzz/test_fuzz.py",
)
