"""Credentials, encryption, receipts and redaction: each its own module, imported by who needs it.

Cryptography takes 40 ms to import, and to look for an e-mail address needs none.
"""
