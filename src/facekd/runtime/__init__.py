"""Using a landmark network: faces found, points, tracking, drawing. Never imports torch."""
