# `args` holds what the step gives; `result` is what it returns. What is printed is kept with the step.
import os

files = [entry for entry in os.scandir(args["where"]) if entry.is_file()]
largest = max(files, key=lambda entry: entry.stat().st_size)
print(f"looked at {len(files)} files")
result = {"count": len(files), "largest": largest.name}
