"""Whether what one annotator drew on one series can be true: place, side, tissue, size and shape of each structure.

`examination.py` is the door. What is not here: whether a file can be read at all (its format's reader), and whether
two annotators agree.
"""
