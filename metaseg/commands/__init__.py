"""Commands of `metaseg`, one file each: functions whose parameters are options and whose docstrings are help."""
