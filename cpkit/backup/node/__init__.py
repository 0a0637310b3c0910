"""The program that a control-plane node's timer runs: Python's standard library, OpenSSH, age and systemd alone.

It is laid down on the nodes as it is, with the modules of cpkit that it uses (`cpkit/backup/shipping.py` names them).
"""
