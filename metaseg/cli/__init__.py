"""Commands and what study pages share: options, presets, starting."""
