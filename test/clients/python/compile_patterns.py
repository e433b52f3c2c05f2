"""Compiles every pattern of an OpenAPI document with Python's re. Usage: compile_patterns.py DOCUMENT"""

import json
import re
import sys


def compile_patterns(node) -> int:
    if isinstance(node, list):
        return sum(map(compile_patterns, node))
    if not isinstance(node, dict):
        return 0
    pattern = node.get("pattern")
    if isinstance(pattern, str):
        re.compile(pattern)
    return isinstance(pattern, str) + sum(map(compile_patterns, node.values()))


with open(sys.argv[1], encoding="utf-8") as file:
    print(compile_patterns(json.load(file)), "patterns")
