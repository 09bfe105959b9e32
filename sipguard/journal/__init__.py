"""What was blocked and why: observations, grouping, masking, escaping, the review query."""
