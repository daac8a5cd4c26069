"""Export of trained networks to formats that run without metaseg, each with a passport and a model card."""
