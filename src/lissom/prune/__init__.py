"""Pruning: fewer weights, in a form that is smaller and faster without special support."""
