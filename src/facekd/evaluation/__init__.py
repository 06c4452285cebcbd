"""How good a model is: metrics (pure functions), protocol (boxes, subsets), tables and the report page."""
