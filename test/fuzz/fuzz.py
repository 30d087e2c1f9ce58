"""fuzz.py PROGRAM CORPUS RUNS: lets libFuzzer make up so many inputs, from those that are kept, always the same.

To look for longer, and keep what is new: PROGRAM -max_total_time=600 -use_value_profile=1 DIRECTORY CORPUS."""

import base64
import pathlib
import subprocess
import sys
import tempfile

program, corpus, runs = sys.argv[1:]
with tempfile.TemporaryDirectory() as found:
    command = [program, f"-runs={runs}", "-seed=5", "-max_len=2048", "-use_value_profile=1", "-print_final_stats=1",
               f"-artifact_prefix={found}/", found, corpus]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    print(done.stdout.decode(errors="replace")[-4000:])
    if done.returncode != 0:
        # What was found goes with the directory.
        for kind in ("crash", "leak", "timeout", "oom"):
            for each in pathlib.Path(found).glob(kind + "-*"):
                print(each.name, base64.b64encode(each.read_bytes()).decode())
sys.exit(done.returncode)
