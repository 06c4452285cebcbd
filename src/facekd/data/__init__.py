"""From the datasets as they are published to one packed table: readers, prepare, pack, inspect."""
