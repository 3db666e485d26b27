"""Weights from other frameworks in, trained networks out as files that run elsewhere, and annotation tools."""
