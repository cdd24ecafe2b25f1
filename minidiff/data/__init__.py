"""Data sets and files: digits, Moving-MNIST clips, prompts, batches, videos and pictures.

A new data set goes here, one file, with a card in the folder `datasets/`.
"""
