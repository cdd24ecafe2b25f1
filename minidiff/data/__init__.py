"""Digits, and the clips that are made of them."""
