"""Prepare task heads for finetuning: the library behind the reproducible companion.

Ren, Guo, Bae and Sutherland, "How to prepare your task head for finetuning", ICLR 2023.
"""

__version__ = "0.1.0"
