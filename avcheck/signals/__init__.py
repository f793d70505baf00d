"""Test signals: a flash in the picture with a beep in the sound, whose times give the offset
without the network.
"""
