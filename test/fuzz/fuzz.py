"""fuzz.py PROGRAM CORPUS RUNS: lets libFuzzer make up so many inputs, from those that are kept, always the same.

To look for longer, and keep what is new: PROGRAM -max_total_time=600 -use_value_profile=1 DIRECTORY CORPUS."""

import subprocess
import sys
import tempfile

program, corpus, runs = sys.argv[1:]
with tempfile.TemporaryDirectory() as found:
    command = [program, f"-runs={runs}", "-seed=5", "-max_len=2048", "-use_value_profile=1", "-print_final_stats=1",
               f"-artifact_prefix={found}/", found, corpus]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
text = done.stdout.decode(errors="replace")
# What was found is gone with the directory, but is printed in base64.
print(text[-4000:])
sys.exit(done.returncode)
