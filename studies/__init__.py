"""Studies: one page an experiment, to run (`python studies/NAME.py`) or import (`from studies.NAME import STUDY`)."""
