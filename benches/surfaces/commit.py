"""usage: STORE TREE TIMES: commits a tree that often and prints how many seconds each time took."""

import sys
import time

import treering

with treering.Store(sys.argv[1]) as store:
    for _ in range(int(sys.argv[3])):
        began = time.perf_counter()
        store.commit(sys.argv[2], "a:b", base="scratch", created=0)
        print(f"{time.perf_counter() - began:.6f}")
