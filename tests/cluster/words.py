"""Counting words: the texts, a script that counts those of a file, and the same without Trunkline."""

import collections
import re
from collections.abc import Mapping


def script(name: str) -> str:
    """Return a shell script that counts the words of the files of an input."""
    count = "tr -cs 'a-z' '\\n' < \"$file\" | sed '/^$/d' | sort | uniq -c"
    return f"""
for file in /pfs/{name}/*; do
  {count} | awk '{{print $2 "\\t" $1}}' > "/pfs/out/${{file##*/}}.tsv"
done
"""


def texts(count: int) -> dict[str, bytes]:
    """Return this many files."""
    return {
        f"/t{n}": f"the {'datum ' * (n % 7)}of word{'s' * (n % 3)} {n}\n".encode()
        for n in range(count)
    }


def counted(contents: Mapping[str, bytes]) -> dict[str, bytes]:
    """Return what the script is to write."""
    found = {}
    for path, data in contents.items():
        counts = sorted(collections.Counter(re.findall(rb"[a-z]+", data)).items())
        found[f"{path}.tsv"] = b"".join(b"%s\t%d\n" % each for each in counts)
    return found
