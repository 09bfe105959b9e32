"""The record of what was blocked and why: observations, grouping, masking, escaping, review query."""
