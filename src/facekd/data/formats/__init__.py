"""Label files as tools write them, one reader per file: `facekd prepare folder` finds the right one."""
