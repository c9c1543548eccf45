#!/usr/bin/env python3
"""Merges with mergekit, in this process. Usage: run_mergekit.py FOLDER NAME...: the recipe FOLDER/NAME.yml, whose models are
folders beside it, to FOLDER/mergekit_NAME. A recipe that mergekit refuses is said and leaves nothing. Needs mergekit==0.1.5."""
import pathlib
import re
import sys

import yaml
from mergekit.config import MergeConfiguration
from mergekit.merge import MergeOptions, run_merge

root = pathlib.Path(sys.argv[1])
for name in sys.argv[2:]:
    text = (root / f"{name}.yml").read_text()
    text = re.sub(r'"(base|a|b|c)"', lambda match: f'"{root / match[1]}"', text)
    try:
        run_merge(MergeConfiguration.model_validate(yaml.safe_load(text)), str(root / f"mergekit_{name}"),
                  MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True, num_threads=1))
    except Exception as error:
        print(f"{name}: mergekit refuses: {error}")
