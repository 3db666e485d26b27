"""Weights of other frameworks in, trained networks out as files that run elsewhere, and annotation tools."""
