"""Leaves that the nodes renew by themselves: the program of their timer, and what is laid down for it.

All but `shipping` runs on the nodes as it is: Python's standard library, the agent of `cpkit health`, and openssl.
"""
