"""Teachers and students: backbones under landmark heads, and the files they are kept in."""
